"""Build entry point; all metadata is in ``pyproject.toml``.

A built package also holds the benchmark suite, ``bench/`` of the clone, as ``voidllm._bench``: a name of
its own in site-packages. It is copied here, and not mapped by ``package-dir``, because setuptools would
answer a mapping with a finder module in editable installations (see ``pyproject.toml``).
"""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py

# What is for the clone only: servers for tests, gates for CI, and what was compiled.
NOT_SHIPPED = ("mocks", "build", "prebuilt", "hotpath.py", "gates.py", "gates.toml", "calls.py", "calls.c")
SUFFIXES = (".py", ".c", ".h", ".toml", ".txt", ".json")


class BuildWithBench(build_py):
    """Copies the suite beside the modules; an editable installation finds it in the clone."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self.bench_files():
                target.parent.mkdir(parents=True, exist_ok=True)
                copyfile(source, target)

    def bench_files(self) -> list[tuple[Path, Path]]:
        """Give each file of the suite and where it goes."""
        root, to = Path(__file__).resolve().parent / "bench", Path(self.build_lib, "voidllm", "_bench")
        files = [file for file in sorted(root.rglob("*")) if file.suffix in SUFFIXES]
        inside = [file for file in files if not set(file.relative_to(root).parts) & set(NOT_SHIPPED)]
        if not inside:
            raise FileNotFoundError(f"{root} is not there: the package would lack 'voidllm bench'")
        return [(file, to / file.relative_to(root)) for file in inside]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        found = super().get_outputs(include_bytecode)
        return found if self.editable_mode else found + [str(target) for _, target in self.bench_files()]


setup(cmdclass={"build_py": BuildWithBench})
