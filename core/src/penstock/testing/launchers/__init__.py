"""The conformance kit for launchers: what a launcher promises, as tests to inherit.

A launcher's whole test file::

    class TestAcme(LauncherContract):
        name = "acme"

        @pytest.fixture(scope="class")
        @classmethod
        def options(cls, acme_cluster):
            return {"address": acme_cluster.address}

``options`` are those of the launcher, which has to be installed and able to start four workers with them; where it is
not installed, the fixture ``launcher`` returns a call that opens it. Both are of the scope ``class`` or a wider one.
Workers are started for real: the kit takes it that their processes are on this machine. The laws:

1. As many workers start as were asked for, or one on each host. Ranks count from 0 in the order of the hosts' names,
   and are the same when it starts again. Each worker's greeting is its own, and complete.
2. A call is answered once, by its own answer, however many are open. A stream gives every item in order, and ends.
   Frames are carried whole, of 8 MiB too. Who leaves a question disturbs no other.
3. An error of the worker arrives as its class, with its message, and the worker goes on.
4. A worker that is killed by ``kill()`` or from outside is missed: at once, or within ten seconds. Whoever waits for it
   or asks it later gets WorkerLostError with its rank, its host and a cause. The others go on.
5. ``stop`` ends all, in midstream and with lost workers too, and leaves no process, thread, open port or directory. It
   is harmless twice, and without a start.
6. A start that can't be is a RunError that names the host and the reason, and leaves nothing.
7. A host starts the worker in a directory of its own, which is empty and private. It takes only variables of allowed
   names, never one that carries code, and runs no module but those of penstock's workers.
8. A whole run counts what one host with as many processes would have counted, for the same seed; merged percentiles
   are those of all operations. A run that loses a worker is degraded and has what the others measured. An interrupted
   one reports and leaves nothing. What is forwarded is not shown and not kept.

What a class may choose besides:

- ``workers``: how many are started; ``patience``: after how many seconds a call hangs; ``grace``: within how many
  seconds a death has to be noticed and what was stopped has to be gone
- ``target``: storage that all hosts reach, for whole runs; by default a directory, which takes penstock-file
- ``strike`` and ``has_ended``: how a worker's process is killed, and how one sees that it has ended, where it is not
  on this machine

:class:`ProcessLauncherContract` has the laws of launchers whose workers are processes of one host: all but those about
hosts.
"""

from __future__ import annotations

from penstock.testing.launchers.contract import LauncherContract, ProcessLauncherContract

__all__ = ["LauncherContract", "ProcessLauncherContract"]
