"""SIGKILL at random moments of real jobs; the long version is `python -m tests.batch.killing`."""

from tests.batch.killing import Killing
from tests.servers.loopback import Loopback


def test_a_job_killed_anywhere_ends_in_the_same_output_and_pays_hardly_twice(tmp_path):
    """#126 #127: phases are met by chance here, and one by one in tests/store."""
    with Loopback(dimensions=64) as server:
        killing = Killing(tmp_path, server, seed=7)
        while killing.kills < 4:
            killing.one_job()
