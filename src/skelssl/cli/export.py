"""Export a trained encoder as files that other programs can run, with a model card.

  skelssl export checkpoint=outputs/pstl/ntu60_xsub/RUN out=EXPORT
  skelssl export checkpoint=RUN format=onnx out=EXPORT

safetensors: the weights with their config, for skelssl itself. torch: a torch.export program, for PyTorch without
skelssl. onnx: for onnxruntime (pip install 'skelssl[export]'). Each graph takes any number of clips, and is compared
with the encoder before the folder is written.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from skelssl.cli.app import run_hydra
from skelssl.pretrained.export import export_encoder


def main() -> None:
    """Run the command."""
    run_hydra("export", export_command)


def export_command(config: DictConfig) -> None:
    """Export the encoder of ``checkpoint`` to the folder ``out``."""
    formats = list(config.format) if isinstance(config.format, ListConfig) else str(config.format)
    folder = export_encoder(
        Path(str(config.checkpoint)).expanduser(), Path(str(config.out)).expanduser(), formats,
        source=config.source, representation=config.representation, trust=list(config.trust),
    )  # fmt: skip
    files = ", ".join(sorted(file.name for file in folder.iterdir()))
    print(f"{files} -> {folder}")


if __name__ == "__main__":
    main()
