"""The one exception a user may see."""


class UserError(ValueError):
    """A mistake the user can mend: one sentence naming the key or file, what was found and what was expected.

    It is a ValueError, so that code which calls the library needs to know no exception of ours.

    ``skelssl.entry`` prints the sentence and exits with code 2; library code never exits by itself.
    """
