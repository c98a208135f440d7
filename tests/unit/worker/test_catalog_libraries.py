"""Operators that need the extra ``operators``: with the real libraries, and what is said without them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard import Context, OperatorFailed
from modelyard.catalog import OPERATORS, function_of
from modelyard.catalog.libraries import LibraryMissing
from modelyard.catalog.shell import CommandFailed
from modelyard.operator import describe

polars = pytest.importorskip("polars")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
image_module = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module", autouse=True)
def fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """matplotlib keeps the files of its fonts open from the first picture on."""
    table = tmp_path_factory.mktemp("fonts") / "table.csv"
    table.write_text("a\n1\n")
    function_of("plot.table")(Context(), table, ["a"])


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(directory=str(tmp_path / "task"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    rows = [
        f"{x},{y},{'up' if y > x else 'down'},{3 * x - y}" for x in range(12) for y in range(12) if x != y
    ]
    path.write_text("x,y,side,value\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    image_module.new("RGBA", (60, 30), (200, 10, 10, 128)).save(path)
    return path


def test_table_convert_goes_both_ways(context: Context, table: Path) -> None:
    parquet = function_of("table.convert")(context, table).path
    assert parquet.read_bytes()[:4] == b"PAR1"
    back = function_of("table.convert")(Context(), parquet, "csv").path
    assert back.read_text() == table.read_text()


def test_table_query_speaks_sql(context: Context, table: Path) -> None:
    sql = "select side, count(*) as n from self group by side order by side"
    out = function_of("table.query")(context, table, sql, "csv").path
    assert out.read_text() == "side,n\ndown,66\nup,66\n"


def test_table_join_keeps_the_order_of_the_left(context: Context, tmp_path: Path) -> None:
    left, right = tmp_path / "l.csv", tmp_path / "r.csv"
    left.write_text("k,a\n2,x\n1,y\n2,z\n")
    right.write_text("k,b\n1,p\n2,q\n")
    out = function_of("table.join")(context, left, right, ["k"], to="csv").path
    assert out.read_text() == "k,a,b\n2,x,q\n1,y,p\n2,z,q\n"
    with pytest.raises(OperatorFailed, match="the left table has no column 'z'") as caught:
        function_of("table.join")(context, left, right, ["z"])
    assert caught.value.next_step == "name one of its columns: k, a"


def test_table_split_is_the_same_for_the_same_seed_and_loses_no_row(context: Context, table: Path) -> None:
    split = function_of("table.split")
    parts = {name: polars.read_parquet(file.path) for name, file in split(context, table, 0.25, 7).items()}
    again = split(Context(), table, 0.25, 7)
    assert parts["test"].equals(polars.read_parquet(again["test"].path))
    assert not parts["test"].equals(polars.read_parquet(split(Context(), table, 0.25, 8)["test"].path))
    assert (parts["train"].height, parts["test"].height) == (99, 33)
    assert polars.concat(list(parts.values())).sort("x", "y").equals(polars.read_csv(table).sort("x", "y"))
    with pytest.raises(OperatorFailed, match="between 0 and 1"):
        split(context, table, 1.0)


def test_table_preview_is_json(table: Path) -> None:
    seen = function_of("table.preview")(table, 1)
    assert seen == {
        "rows": 132,
        "columns": {"x": "Int64", "y": "Int64", "side": "String", "value": "Int64"},
        "first": [[0, 1, "up", -1]],
    }
    json.dumps(seen, allow_nan=False)


def test_file_that_is_no_table_says_so(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_bytes(b"PAR1 and nothing behind it")
    with pytest.raises(OperatorFailed, match="no table"):
        function_of("table.preview")(path)


@pytest.mark.parametrize(
    ("estimator", "metric"),
    [
        ("logistic-regression", "accuracy"),
        ("random-forest-classifier", "accuracy"),
        ("k-neighbors-classifier", "f1"),
    ],
)
def test_fit_predict_score_of_classes(context: Context, table: Path, estimator: str, metric: str) -> None:
    model = function_of("sklearn.fit")(context, table, estimator, "side", ["x", "y"]).path
    score = function_of("sklearn.score")(model, table)
    assert score["kind"] == "classes"
    assert score[metric] > 0.9
    predicted = polars.read_parquet(function_of("sklearn.predict")(context, model, table).path)
    assert set(predicted["prediction"]) == {"up", "down"}


@pytest.mark.parametrize("estimator", ["linear-regression", "ridge", "gradient-boosting-regressor"])
def test_fit_predict_score_of_numbers(context: Context, table: Path, estimator: str) -> None:
    model = function_of("sklearn.fit")(context, table, estimator, "value", ["x", "y"], {}).path
    assert function_of("sklearn.score")(model, table)["r2"] > 0.9


def test_fit_is_the_same_for_the_same_seed(table: Path) -> None:
    fit = function_of("sklearn.fit")
    models = [
        fit(Context(), table, "random-forest-classifier", "side", ["x", "y"], {"n_estimators": 5}, 3)
        for _ in "ab"
    ]
    assert models[0].path.read_bytes() == models[1].path.read_bytes()


def test_fit_that_cannot_be_says_why(context: Context, table: Path, tmp_path: Path) -> None:
    fit = function_of("sklearn.fit")
    with pytest.raises(OperatorFailed, match="column 'side' is String"):
        fit(context, table, "ridge", "value")
    with pytest.raises(OperatorFailed, match="has no setting 'speed'") as caught:
        fit(context, table, "ridge", "value", ["x"], {"speed": 1})
    assert caught.value.next_step.startswith("name one of: alpha")
    with pytest.raises(OperatorFailed, match="needs a target"):
        fit(context, table, "ridge")
    (tmp_path / "no-model").write_bytes(b"cos\nsystem\n")
    with pytest.raises(OperatorFailed, match="the file is no model"):
        function_of("sklearn.score")(tmp_path / "no-model", table)


@pytest.mark.parametrize("kind", ["line", "scatter", "bar", "histogram"])
@pytest.mark.parametrize("to", ["png", "svg"])
def test_plot_is_the_same_each_time(table: Path, kind: str, to: str) -> None:
    plot = function_of("plot.table")
    first, second = (
        plot(Context(), table, ["x", "value"], kind=kind, to=to, title="<t>").path.read_bytes() for _ in "ab"
    )
    assert first == second
    assert first.startswith(b"\x89PNG" if to == "png" else b"<?xml")


def test_images_are_described_resized_and_converted(context: Context, picture: Path) -> None:
    assert function_of("image.describe")(picture) == {
        "format": "png",
        "width": 60,
        "height": 30,
        "mode": "RGBA",
    }
    sizes = {}
    for fit in ("inside", "cover", "exact"):
        with image_module.open(function_of("image.resize")(context, picture, 20, 20, fit).path) as image:
            sizes[fit] = image.size
    assert sizes == {"inside": (20, 10), "cover": (20, 20), "exact": (20, 20)}
    jpeg = function_of("image.convert")(context, picture, "jpeg").path
    assert function_of("image.describe")(jpeg)["format"] == "jpeg"
    assert function_of("image.describe")(function_of("image.grayscale")(context, picture).path)["mode"] == "L"


def test_file_that_is_no_image_says_so(table: Path) -> None:
    with pytest.raises(OperatorFailed, match="no image"):
        function_of("image.describe")(table)


def test_shell_runs_in_the_tasks_directory_with_its_input(context: Context, table: Path) -> None:
    run = function_of("shell.run")
    assert run(context, "head -1; pwd", table) == {
        "stdout": f"x,y,side,value\n{context.directory}\n",
        "exit_code": 0,
    }
    assert run(context, "exit 3", check=False)["exit_code"] == 3
    with pytest.raises(CommandFailed, match="ended with code 3: oh"):
        run(context, "echo oh >&2; exit 3")
    description = describe(function_of("shell.run"))
    assert description["has_effects"]
    assert description["inputs"] == [{"name": "input", "type": "file", "required": False}]


def test_operators_are_listed_without_their_libraries() -> None:
    code = (
        "import sys; from modelyard.catalog import describe_all; describe_all();"
        "print([name for name in ('polars', 'sklearn', 'matplotlib', 'PIL', 'numpy') if name in sys.modules])"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["table.preview", "image.describe"])
def test_missing_library_says_what_to_install_where(
    name: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"table.preview": "polars", "image.describe": "PIL.Image"}[name]
    for loaded in [each for each in sys.modules if each == module or each.startswith(module + ".")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [_Without(module)])
    with pytest.raises(LibraryMissing, match="not installed here") as caught:
        function_of(name)(table)
    assert "pip install 'modelyard[operators]'" in caught.value.next_step


class _Without:
    """Finds no module of that name."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_operators_with_libraries_name_them() -> None:
    from modelyard.operator.declaration import declared

    needing = {name for name in OPERATORS if declared(function_of(name)).libraries}
    assert {name.partition(".")[0] for name in needing} == {"table", "sklearn", "plot", "image"}
    assert "table.filter" not in needing
