"""PySpark on this machine: RDDs with Python functions for records, its DataFrame for frames."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from operator import add
from pathlib import Path
from typing import Any

from by_hand import chunk, nothing, part_lines, totals
from cells import SMALL, Absent, Answer, Setup
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's users call it so


@contextmanager
def opened(setup: Setup) -> Iterator[Any]:
    if shutil.which("java") is None:
        raise Absent("no java")
    place = Path(setup.scratch).with_name("spark")
    builder = SparkSession.builder.master(f"local[{setup.workers}]").config("spark.driver.memory", "4g")
    builder = builder.config("spark.ui.enabled", "false").config("spark.local.dir", str(place)).config("spark.driver.host", "127.0.0.1")
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def folder(setup: Setup) -> str:
    return str(Path(setup.paths[0]).parent)


def words(spark: Any, setup: Setup) -> Any:
    if chunk(setup) > 1:  # `textFile` would make a partition of each
        return spark.sparkContext.wholeTextFiles(folder(setup)).flatMap(lambda pair: pair[1].split())
    return spark.sparkContext.textFile(folder(setup)).flatMap(str.split)


def word_count(spark: Any, setup: Setup) -> Answer:
    found = words(spark, setup).map(lambda word: (word, 1)).reduceByKey(add).collect()
    return lambda: found


def shuffled_count(spark: Any, setup: Setup) -> Answer:
    found = words(spark, setup).map(lambda word: (word, 1)).groupByKey().mapValues(sum).collect()
    return lambda: found


def user_totals(spark: Any, setup: Setup) -> Answer:
    rows = spark.sparkContext.textFile(folder(setup)).map(json.loads).map(lambda row: (row["user"], (row["amount"], 1)))
    return totals(rows.reduceByKey(lambda one, other: (one[0] + other[0], one[1] + other[1])).collect())


def total_sort(spark: Any, setup: Setup) -> Answer:
    pairs = spark.sparkContext.textFile(folder(setup)).map(lambda line: (line[:10], line[10:]))
    target = Path(setup.scratch) / "sorted"
    pairs.sortByKey().map(lambda pair: pair[0] + pair[1]).saveAsTextFile(str(target))
    return lambda: part_lines(str(target))


def first_result(spark: Any, _: Setup) -> Answer:
    found = spark.sparkContext.parallelize(SMALL, 1).flatMap(str.split).map(lambda word: (word, 1)).reduceByKey(add, 1).collect()
    return lambda: found


def empty_tasks(spark: Any, setup: Setup) -> Answer:
    done = spark.sparkContext.parallelize(range(setup.count), setup.count).map(nothing).count()
    return lambda: [(done,)]


def user_frames(spark: Any, setup: Setup) -> Answer:
    grouped = spark.read.parquet(folder(setup)).groupBy("user")
    frame = grouped.agg(F.sum("amount"), F.mean("amount"), F.count("amount")).toPandas()
    return lambda: frame.itertuples(index=False, name=None)


CELLS = {
    "W1": word_count,
    "W2": shuffled_count,
    "W3": user_totals,
    "W4": total_sort,
    "W5 cold": first_result,
    "W5 first": first_result,
    "W5 1": empty_tasks,
    "W5 100": empty_tasks,
    "W5 1000": empty_tasks,
    "W7": user_frames,
    "W10": word_count,
    "W10 few": word_count,
}
