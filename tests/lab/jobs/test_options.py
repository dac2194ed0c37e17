"""The command line's own parts; what it refuses is in tests/test_bad_input.py."""

import pytest

from lab.jobs.options import without_job

STUDY = ["--config=a.py", "--workdir=b", "--save_minutes", "3"]


@pytest.mark.parametrize(
    "job",
    [
        ["--distributed"],
        ["--distributed", "--coordinator=a:1", "--processes=2", "--process=0"],
        ["--distributed=true", "--coordinator", "a:1", "--processes", "2", "-process", "0"],
    ],
)
def test_a_part_of_a_job_runs_the_study_without_the_jobs_options(job):
    assert without_job([*job, *STUDY]) == STUDY
    assert without_job([*STUDY, *job]) == STUDY
