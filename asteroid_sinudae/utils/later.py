"""The rest of Asteroid, when it is asked for: our models need no more of it than its BaseModel.

Asteroid's packages import all that is in them, and with it scipy and torchaudio, which takes as
long as all else that a song needs, torch apart. So our models import `asteroid.models.base_models`
alone, if nobody has imported Asteroid before. The packages around it, and a module that it imports
for later, :data:`LATER`, are in :data:`sys.modules` by then, but their files have not been run.

Whoever asks one of them for what is not there yet (a name, all names, a submodule) gets the answer
after the whole import of Asteroid, by :mod:`._compat`: the same answer as after `import asteroid`.

Threads whose first imports are different parts of Asteroid may fail, as without this package, or
even wait for each other: where there are such threads, `import asteroid` comes before them.
"""

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

LATER = ("asteroid", "asteroid.models", "asteroid.masknn", "asteroid.separate")

pending: list[ModuleType] = []  # modules whose file is still to be run
_NAMES: Any = vars(ModuleType)["__dict__"]
_threads: set[int] = set()  # those that import something which must do without what is pending


class _Later(ModuleType):
    """Module that runs what is pending before it answers; a plain module afterwards.

    While one thread runs it, others that ask for a name wait, also if it is there by then: a
    function of the module may need what is added at the end.
    """

    def __getattribute__(self, name: str) -> Any:
        value = ModuleType.__getattribute__(self, name)
        if isinstance(value, ModuleType) or name.startswith("__"):
            return value
        _catch_up(self)
        return ModuleType.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        _catch_up(self)
        return ModuleType.__getattribute__(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        # Otherwise, the file would undo what others set. Imports set submodules and `__names__`.
        if not (isinstance(value, ModuleType) or name.startswith("__")):
            _catch_up(self)
        ModuleType.__setattr__(self, name, value)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # `dir` and `vars` ask for it
        _catch_up(self)
        return _NAMES.__get__(self)


def _catch_up(module: ModuleType) -> None:
    """Run what is pending, or wait for the thread that does; if this one does, run the module."""
    if threading.get_ident() in _threads:
        return
    importlib.import_module("asteroid_sinudae._compat")
    if module in pending:
        _run(module)


def _run(module: Any) -> None:
    pending.remove(module)
    try:
        module.__spec__.loader.exec_module(module)
    except BaseException:
        pending.append(module)  # as an import that failed: the next one tries again
        raise


@contextlib.contextmanager
def put_off() -> Iterator[None]:
    """Make the modules :data:`LATER` without running them, unless Asteroid is imported already.

    Nor are they run for what this thread imports in the block.
    """
    _make_modules()
    _threads.add(threading.get_ident())
    try:
        yield
    finally:
        _threads.discard(threading.get_ident())


def _make_modules() -> None:
    for name in LATER:
        if name in sys.modules:
            continue
        spec = find_spec(name)
        if spec is None:  # the import that follows says so
            return
        module = module_from_spec(spec)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
        module.__class__ = _Later
        pending.append(module)


def run_pending() -> None:
    """Run the modules that are pending."""
    for module in tuple(pending):
        if module in pending:  # not run for another one
            _run(module)


def settle() -> None:
    """Turn the modules, which are complete by now, into plain modules."""
    for name in LATER:
        if isinstance(sys.modules[name], _Later):
            sys.modules[name].__class__ = ModuleType
