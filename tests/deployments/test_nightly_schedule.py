"""The schedule and the project of `annotate project`, by `prefect deploy` and by `prefect-cvat serve`."""

import re

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule

from deployments_on_server import delete_deployments, deploy, deployed, read_deployment, serve
from prefect_cvat.deployments.block_references import credentials_reference
from prefect_cvat.deployments.nightly_schedule import NightlySchedule
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_PROJECT, PREFECT_YAML
from prefect_cvat.deployments.scope import Scope

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

PROJECT = Scope(project_id=7)


def schedules():
    """Of the deployment for a project: whether it is active, its parameters, and when."""
    return [
        (schedule.active, schedule.parameters, schedule.schedule)
        for schedule in read_deployment(ANNOTATE_PROJECT).schedules
    ]


def switch_off():
    deployment = read_deployment(ANNOTATE_PROJECT)
    with get_client(sync_client=True) as prefect:
        for schedule in deployment.schedules:
            prefect.update_deployment_schedule(
                deployment.id, schedule.id, active=False, parameters=schedule.parameters
            )


def uncommented(text):
    """The file with the lines for a project and a nightly run uncommented, as a user would do it."""
    before, _, after = text.partition("      # project_id: 7 #")
    text = f"{before}      project_id: 7 #{after}".replace("schedules: null", "schedules:")
    return re.sub(
        r"^    #(?=  +(- slug|cron|timezone|parameters|project_id|all_tasks|cred))", "    ", text, flags=re.M
    )


def test_nightly_run_is_the_same_from_prefect_yaml_and_from_options(work_pool, tmp_path):
    text = uncommented(PREFECT_YAML.read_text())
    for before, after in (
        ('"0 2 * * *"', '"30 1 * * 1-5"'),
        ("timezone: UTC", "timezone: Europe/Berlin"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    (tmp_path / "prefect.yaml").write_text(text)
    delete_deployments()

    deploy(tmp_path / "prefect.yaml", "-n", "annotate-project")
    by_deploy = deployed()[ANNOTATE_PROJECT]
    delete_deployments()
    serve(scope=PROJECT, nightly=NightlySchedule(cron="30 1 * * 1-5", timezone="Europe/Berlin"))

    assert deployed()[ANNOTATE_PROJECT] == by_deploy
    assert by_deploy["parameters"]["project_id"] == 7
    (nightly,) = by_deploy["schedules"]
    assert nightly["active"]
    assert nightly["parameters"] == {
        "project_id": 7,
        "all_tasks": False,
        "credentials": credentials_reference("main"),
    }
    assert nightly["schedule"]["timezone"] == "Europe/Berlin"


def test_quick_run_uses_the_served_project():
    def quick_run():
        with get_client(sync_client=True) as prefect:
            return prefect.create_flow_run_from_deployment(read_deployment(ANNOTATE_PROJECT).id).parameters

    serve(scope=PROJECT)
    assert quick_run()["project_id"] == 7
    serve(scope=Scope(all_tasks=True))
    assert ("project_id" in quick_run(), quick_run()["all_tasks"]) == (False, True)
    serve()
    assert not {"project_id", "all_tasks"} & set(quick_run())


def test_refuses_project_together_with_all_tasks():
    with pytest.raises(ValueError, match="--project 7 and --all-tasks contradict each other"):
        Scope(project_id=7, all_tasks=True)


def test_prefect_deploy_keeps_the_nightly_schedule(work_pool):
    delete_deployments()
    serve(
        scope=PROJECT,
        nightly=NightlySchedule(cron="30 1 * * 1-5", timezone="Europe/Berlin"),
        credentials="staging",
    )
    before = schedules()
    deploy(PREFECT_YAML, "--all")

    assert schedules() == before
    ((active, parameters, _),) = before
    assert (active, parameters["credentials"]) == (True, credentials_reference("staging"))
    # the merge that Prefect makes for a run of a schedule
    run = {**read_deployment(ANNOTATE_PROJECT).parameters, **parameters}
    assert (run["project_id"], run["credentials"]) == (7, credentials_reference("staging"))


def test_serve_without_project_keeps_the_nightly_schedule(work_pool, tmp_path):
    (tmp_path / "prefect.yaml").write_text(uncommented(PREFECT_YAML.read_text()))
    delete_deployments()
    deploy(tmp_path / "prefect.yaml", "-n", "annotate-project")
    before = schedules()

    assert serve() == ["schedule 'nightly' of project 7, 0 2 * * * UTC (not changed)"]
    assert schedules() == before
    assert before[0][0]


def test_options_not_given_keep_the_nightly_schedule():
    delete_deployments()
    nightly = NightlySchedule(cron="30 1 * * *", timezone="Europe/Berlin")
    assert serve(scope=PROJECT, nightly=nightly) == [
        "schedule 'nightly' of project 7, 30 1 * * * Europe/Berlin (created)"
    ]
    switch_off()
    same = "schedule 'nightly' of project 7, 30 1 * * * Europe/Berlin, switched off (unchanged)"
    assert serve(scope=PROJECT) == [same]
    assert serve(scope=Scope(project_id=8), nightly=NightlySchedule(cron="0 4 * * *")) == [
        "schedule 'nightly' of project 8, 0 4 * * * Europe/Berlin (changed; it was: 'nightly' of project 7,"
        " 30 1 * * * Europe/Berlin, switched off)"
    ]
    assert serve(scope=Scope(all_tasks=True))[0].startswith("schedule 'nightly' of all tasks, 0 4 * * *")


def test_keeps_schedules_created_in_the_ui(work_pool):
    delete_deployments()
    serve()
    with get_client(sync_client=True) as prefect:
        own = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 5 * * *"), parameters={"project_id": 3})
        prefect.create_deployment_schedules(read_deployment(ANNOTATE_PROJECT).id, [own])

    left = "schedule 'without a name' of project 3, 0 5 * * * UTC (not changed)"
    assert serve() == [left]
    assert serve(scope=PROJECT) == ["schedule 'nightly' of project 7, 0 2 * * * UTC (created)", left]
    deploy(PREFECT_YAML, "--all")
    assert {parameters["project_id"] for _, parameters, _ in schedules()} == {3, 7}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cron": "at night"}, r"'at night' is not a cron expression.*'0 2 \* \* \*'"),
        ({"timezone": "Mars/Base"}, "no timezone 'Mars/Base'.*'Europe/Berlin'"),
    ],
)
def test_refuses_invalid_time_or_time_zone(options, message):
    with pytest.raises(ValueError, match=message):
        NightlySchedule(**options)
