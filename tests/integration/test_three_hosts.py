"""Hosts that share a network and no disk: one is cut off, one dies, one is restarted, and nothing is lost."""

from pathlib import Path

import pytest
from benchmarks.hosts import open_site
from support.hosts import explain_no_namespaces


@pytest.mark.parametrize("namespaces", [True, False], ids=["namespaces", "processes"])
def test_a_worker_that_is_cut_off_publishes_nothing_and_hosts_that_die_or_restart_lose_nothing(
    namespaces: bool, tiny_sam_dir: Path, tmp_path: Path
) -> None:
    """As `make chaos`, for some seconds.

    Fails without the fence before and in a publication (published by who was cut off), the sweep (unserved), or a
    server that answers what it has taken before it ends (failed).
    """
    reason = explain_no_namespaces()
    if namespaces and reason is not None:
        pytest.skip(f"{reason}; the same is tried with processes")
    if not namespaces and reason is None:
        pytest.skip("network namespaces are the better test, and there are some")
    with open_site(tmp_path, tiny_sam_dir, names=("first", "second"), namespaces=namespaces) as (site, hosts):
        site.cut_worker_off(hosts["redis"], harm="cut off")
        site.wait_for_servers()
        site.wait_for_newest()
        ended = site.end_host()
        site.boot(ended)
        site.wait_for_newest()
        site.restart({"first": "second", "second": "first"}[ended])
        site.wait_for_clicks(10)
        wrongs = site.count_wrongs()
    assert wrongs == dict.fromkeys(wrongs, 0), site.counts.faults
    assert len(site.counts.versions) > 1, "a version must have been swapped in meanwhile"
