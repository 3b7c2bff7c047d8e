from skelssl.training.callbacks.metrics import MetricsCSV, read_rows


def test_rows_are_appended_and_columns_grow(tmp_path):
    path = tmp_path / "metrics.csv"
    MetricsCSV(path).log_metrics({"epoch": 0.0, "train/loss": 2.5}, step=3)
    log = MetricsCSV(path)
    log.log_metrics({"epoch": 1.0, "train/loss": 1.5, "probe/knn/top1": 0.5}, step=7)
    assert path.read_text().splitlines() == ["epoch,step,train/loss,probe/knn/top1", "0,3,2.5,", "1,7,1.5,0.5"]


def test_a_resumed_run_forgets_what_its_checkpoint_has_not_seen(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsCSV(path)
    for epoch, step in enumerate((3, 7, 11)):
        log.log_metrics({"epoch": epoch, "train/loss": 1.0}, step=step)
    log.resume(8)
    assert [row["step"] for row in read_rows(path)] == ["3", "7"]
    assert log.holds(7)
    assert not log.holds(11)


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n0,3,2.5\n1,7")
    assert read_rows(path) == [{"epoch": "0", "step": "3", "train/loss": "2.5"}]
    MetricsCSV(path).resume(100)
    assert path.read_text().splitlines() == ["epoch,step,train/loss", "0,3,2.5"]
