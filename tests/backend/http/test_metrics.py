"""What Prometheus reads."""

from backend.http.metrics import Metrics


def lines(metrics: Metrics) -> set[str]:
    return set(metrics.exposition().decode().splitlines())


def test_tasks_regions_failures_and_trainings_are_counted() -> None:
    metrics = Metrics()
    metrics.count_answer(regions=3, seconds=0.3)
    metrics.count_failure("BadInput")
    metrics.count_training()
    metrics.count_batch(images=20, seconds=4.0)
    assert {
        "samloop_batch_images_total 20.0",
        "samloop_batch_seconds_count 1.0",
        "samloop_batch_seconds_sum 4.0",
        "samloop_regions_total 3.0",
        'samloop_failures_total{reason="BadInput"} 1.0',
        "samloop_trainings_requested_total 1.0",
        'samloop_predict_seconds_bucket{le="0.2"} 0.0',
        'samloop_predict_seconds_bucket{le="0.4"} 1.0',
    } <= lines(metrics)


def test_a_gauge_is_read_whenever_somebody_asks() -> None:
    metrics, values = Metrics(), iter([1.0, 2.0])
    metrics.gauge("samloop_sample", "A sample.", lambda: next(values))
    assert "samloop_sample 1.0" in lines(metrics)
    assert "samloop_sample 2.0" in lines(metrics)


def test_figures_by_label_come_and_go_with_what_is_read() -> None:
    metrics, shown = Metrics(), {("7", "v1"): 0.5}
    metrics.gauges("samloop_live_iou", "IoU.", ("project", "version"), lambda: shown)
    assert 'samloop_live_iou{project="7",version="v1"} 0.5' in lines(metrics)
    shown.clear()
    assert not any(line.startswith("samloop_live_iou{") for line in lines(metrics))


def test_a_count_that_is_read_is_a_counter_to_prometheus() -> None:
    metrics, counts = Metrics(), {("training", "failed"): 2.0}
    metrics.counter("samloop_swaps", "Swaps.", lambda: 3.0)
    metrics.counters("samloop_jobs_ended", "Jobs.", ("queue", "outcome"), lambda: counts)
    assert {
        "# TYPE samloop_swaps_total counter",
        "samloop_swaps_total 3.0",
        'samloop_jobs_ended_total{outcome="failed",queue="training"} 2.0',
    } <= lines(metrics)
    counts.clear()
    assert not any(line.startswith("samloop_jobs_ended_total{") for line in lines(metrics))


def test_two_servers_in_one_process_share_no_counters() -> None:
    first, second = Metrics(), Metrics()
    first.count_training()
    assert "samloop_trainings_requested_total 0.0" in lines(second)
