"""The one exception a user may see."""


class UserError(Exception):
    """A mistake the user can mend: one sentence naming the key or file, what was found and what was expected.

    ``skelssl.entry`` prints the sentence and exits with code 2; library code never exits by itself.
    """
