# Imported by every Python program of an app under `monolite run` (PYTHONPATH), before anything of
# its own: Django's transactions begin IMMEDIATE unless its settings say otherwise, also where Python
# has SQLite compiled in, which the preloaded library does not see. Then the sitecustomize that would
# have been imported without this one is.

import os
import sys


def _next_sitecustomize():
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if not p or os.path.abspath(p) != own]
    this = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize":
            raise
        if this is not None:
            sys.modules["sitecustomize"] = this


class _Django(object):
    """Finds django.db.backends.sqlite3.base as Python does, and changes one method in it."""

    name = "django.db.backends.sqlite3.base"

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path[:] = [f for f in sys.meta_path if f is not self]
        import importlib.util

        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            _change(module)

        spec.loader.exec_module = exec_module
        return spec


# GET and HEAD of an app with ATOMIC_REQUESTS read only, if the operator says so.
_reads_are_deferred = os.environ.get("MONOLITE_DRIVER_READS") == "deferred"


def _is_read():
    if not _reads_are_deferred:
        return False
    return getattr(_request, "method", None) in ("GET", "HEAD")


_request = None


def _watch_requests():
    global _request
    try:
        from asgiref.local import Local
    except ImportError:
        from threading import local as Local
    from django.core.signals import request_finished, request_started

    _request = Local()

    def started(environ=None, scope=None, **_):
        method = (environ or {}).get("REQUEST_METHOD") or (scope or {}).get("method")
        _request.method = method

    def finished(**_):
        _request.method = None

    request_started.connect(started, weak=False, dispatch_uid="monolite-lane")
    request_finished.connect(finished, weak=False, dispatch_uid="monolite-lane")


def _change(module):
    wrapper = getattr(module, "DatabaseWrapper", None)
    start = getattr(wrapper, "_start_transaction_under_autocommit", None)
    if start is None:
        return
    if _reads_are_deferred:
        _watch_requests()

    def start_immediate(self):
        options = getattr(self, "settings_dict", {}).get("OPTIONS") or {}
        if options.get("transaction_mode"):
            return start(self)
        if _is_read():
            self.cursor().execute("BEGIN DEFERRED")
            return
        try:
            self.cursor().execute("BEGIN IMMEDIATE")
        except Exception as error:
            # A file that may not be written, or PRAGMA query_only.
            if "readonly" not in str(error):
                raise
            self.cursor().execute("BEGIN DEFERRED")

    wrapper._start_transaction_under_autocommit = start_immediate


try:
    if sys.version_info >= (3, 4):
        sys.meta_path.insert(0, _Django())
except Exception as error:
    sys.stderr.write(
        "monolite: the driver lane does nothing in this Python: %s; --driver-lane off ends this line\n" % error
    )

_next_sitecustomize()
