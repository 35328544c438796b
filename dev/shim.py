"""Make torchvision and torchaudio importable beside a torch that they were not built for.

Their wheels on the default index are built for CUDA. Beside a CPU torch the compiled parts cannot load, and
both packages fail at import although ComfyUI needs only their Python parts. Run once, with the host's own
Python; does nothing where both import, and touches that one environment only. The caller checks the outcome.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

VERSION = 1
MARK = "# added by MagicStyle's host builder"
DECLARATIONS = f"""

{MARK}: torchvision registers fake kernels for these two operators at import time.
# Declared without the library, they let the import pass; a call still raises torchvision's own error.
if not _has_ops():
    _declared = torch.library.Library("torchvision", "FRAGMENT")
    for _operator in ("nms", "qnms"):
        _declared.define(_operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def imports(module: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode == 0


def mend_torchvision(site: Path) -> None:
    extension = site / "torchvision" / "extension.py"
    text = extension.read_text()
    if MARK not in text:
        extension.unlink()  # it may be a hard link into the installer's cache: replace it, do not edit it
        extension.write_text(text + DECLARATIONS)


def mend_torchaudio(site: Path) -> None:
    for library in (site / "torchaudio" / "lib").glob("*.so"):
        library.unlink()  # the extension is optional as long as no library is there to fail


def main() -> None:
    site = Path(sysconfig.get_paths()["purelib"])
    for module, mend in (("torchvision", mend_torchvision), ("torchaudio", mend_torchaudio)):
        if not imports(module):
            mend(site)


if __name__ == "__main__":
    main()
