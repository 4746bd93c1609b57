"""Pack the package that is running into a wheel."""

import base64
import hashlib
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from packaging.requirements import Requirement

# In a checkout these are in different folders.
PACKAGES = ("mmsent", "mmsent.modeling", "mmsent.dataset_scripts")
TAGS = "Wheel-Version: 1.0\nGenerator: mmsent\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path) -> Path:
    """Write a wheel of mmsent, which may run from a checkout or be installed, and return the path of the wheel.

    Neither network nor build tools are needed.
    """
    package = distribution("mmsent")
    files = {}
    for name in PACKAGES:
        root = Path(import_module(name).__file__).parent
        for path in root.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                files[f"{name.replace('.', '/')}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    info = f"mmsent-{package.version}.dist-info"
    metadata = package.read_text("METADATA") or package.read_text("PKG-INFO")
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = TAGS.encode()
    files[f"{info}/entry_points.txt"] = package.read_text("entry_points.txt").encode()
    files[f"{info}/licenses/LICENSE"] = license_text().encode()
    record = []
    for name, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(content)}\n")
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"]).encode()
    path = folder / f"mmsent-{package.version}-py3-none-any.whl"
    with ZipFile(path, "w", ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return path


def license_text() -> str:
    """Return the licence of mmsent."""
    (file,) = (file for file in distribution("mmsent").files if file.name == "LICENSE")
    return file.read_text(encoding="utf-8")


def requirements(extras: set[str]) -> list[str]:
    """Return what mmsent with these extras requires, without mmsent itself."""
    lines = []
    for requirement in map(Requirement, distribution("mmsent").requires):
        marker = requirement.marker
        if requirement.name != "mmsent" and (not marker or any(marker.evaluate({"extra": name}) for name in extras)):
            requirement.marker = None
            lines.append(str(requirement))
    return lines
