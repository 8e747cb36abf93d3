"""SQS and Kinesis hold the contract of `Carrier`, and the exchange by them that of `Exchange`, in spite of all that AWS may do.

The emulator answers; a hook where the client sends does what it would not: answers that are lost, batches that are taken in part,
messages and records that come twice, late, out of order, or not at all.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ConnectionClosedError

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.names import box_name
from smr_notebook.backends.aws.queues import KEEP_SECONDS, MOST_QUEUES, QueueCarrier
from smr_notebook.backends.aws.streams import StreamCarrier
from smr_notebook.backends.collecting import Collector, packed, unpacked
from smr_notebook.backends.memory.objects import MemoryStore
from smr_notebook.dataflow.carrying import CarriedExchange
from smr_notebook.dataflow.exchange import gather_index
from smr_notebook.errors import ConfigError, CorruptObjectError, StoreError
from smr_notebook.model import Receipt
from smr_notebook.ports import PIECE_BYTES, Carrier, Piece, Wanted
from smr_notebook.testing.carrier import PARTITIONS, CarrierTests, box, fetched, pieces, wanted  # noqa: F401 - a fixture
from smr_notebook.testing.exchange import Damage, ExchangeTests, OpenExchange

STACK = "smr"


class Client:
    """A client of one service whose answers can be changed, and whose calls can be made to fail.

    Attributes:
        before: By operation: what is called with the arguments, and returns those that are sent.
        after: The same with the arguments and the answer; it returns the answer that is given.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.after: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {}
        self.before: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**arguments: Any) -> dict[str, Any]:
            given = self.before[operation](arguments) if operation in self.before else arguments
            answer: dict[str, Any] = getattr(self._client, operation)(**given)
            return self.after[operation](arguments, answer) if operation in self.after else answer

        return call


class Hooked(Clients):
    """Clients, each as a `Client`."""

    def __init__(self) -> None:
        super().__init__()
        self.hooked: dict[str, Client] = {}

    def __getitem__(self, service: str) -> Client:
        if service not in self.hooked:
            self.hooked[service] = Client(super().__getitem__(service))
        return self.hooked[service]


@pytest.fixture
def clients(aws: str) -> Hooked:
    return Hooked()


@pytest.fixture
def queues(clients: Hooked) -> QueueCarrier:
    return QueueCarrier(clients, STACK, visible_seconds=1, patience=60)


@pytest.fixture
def streams(clients: Hooked) -> StreamCarrier:
    return StreamCarrier(clients, STACK, patience=1.0)


class OfExchange(ExchangeTests):
    """The suite of the exchange, over a box of as many partitions as its tests have."""

    PARTITIONS = 4

    @pytest.fixture
    def folder(self, carrier: Carrier) -> Iterator[str]:
        name = f"jobs/{uuid4().hex[:8]}"
        carrier.hold(name, self.PARTITIONS)
        yield name
        carrier.remove(name, self.PARTITIONS)

    @pytest.fixture
    def objects(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def open_exchange(self, carrier: Carrier, objects: MemoryStore, tmp_path: Path, folder: str) -> OpenExchange:
        def opened(receipts: Sequence[Receipt]) -> CarriedExchange:
            if not receipts:
                return CarriedExchange(objects, folder, carrier, scratch=tmp_path)
            index = gather_index(objects, receipts, (receipts[0].size - 32) // 48)
            objects.put(f"{folder}/index", index.pieces())
            return CarriedExchange(objects, folder, carrier, scratch=tmp_path, index=f"{folder}/index", index_crcs=index.crcs)

        return opened

    test_many_partitions = None  # type: ignore[assignment]
    """Left to the other exchanges: three hundred queues, or readers of few shards, take the emulator minutes."""


class TestQueues(CarrierTests):
    @pytest.fixture
    def carrier(self, clients: Hooked) -> Carrier:
        return QueueCarrier(clients, STACK, visible_seconds=1, patience=5)


class TestExchangeByQueues(OfExchange):
    @pytest.fixture
    def carrier(self, queues: QueueCarrier) -> Carrier:
        return queues

    @pytest.fixture
    def damage(self, clients: Hooked) -> Damage:
        def damage(_: Receipt, offset: int) -> None:
            def change(__: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
                for message in answer.get("Messages", ()):
                    data = bytearray(message["MessageAttributes"]["data"]["BinaryValue"])
                    data[-1008 + offset] ^= 0x20
                    message["MessageAttributes"]["data"]["BinaryValue"] = bytes(data)
                return answer

            clients["sqs"].after["receive_message"] = change

        return damage


class TestStreams(CarrierTests):
    @pytest.fixture
    def carrier(self, streams: StreamCarrier) -> Carrier:
        return streams


class TestExchangeByStreams(OfExchange):
    @pytest.fixture
    def carrier(self, streams: StreamCarrier) -> Carrier:
        return streams

    @pytest.fixture
    def damage(self, clients: Hooked) -> Damage:
        def damage(_: Receipt, offset: int) -> None:
            def change(__: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
                for record in answer["Records"]:
                    data = bytearray(record["Data"])
                    data[-1008 + offset] ^= 0x20
                    record["Data"] = bytes(data)
                return answer

            clients["kinesis"].after["get_records"] = change

        return damage


# ---------------------------------------------------------------- faults


SENT = {f"map/{number:06d}/001": bytes([65 + number]) * (PIECE_BYTES + 1000 * number + 1) for number in range(6)}


FIRST = next(iter(SENT))


def send_all(carrier: Carrier, box: str) -> None:  # noqa: F811
    for name, data in SENT.items():
        carrier.send(box, name, pieces({0: data, 1: data[:10]}))


def loses_answers(times: int) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """Break the connection after a call took effect: for us, it is as if the SDK had given up; for a batch, we send it again ourselves."""
    left = [times]

    def lose(_: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        if left[0]:
            left[0] -= 1
            raise ConnectionClosedError(endpoint_url="https://emulator")
        return answer

    return lose


class TestQueuesWithFaults:
    @pytest.fixture
    def carrier(self, queues: QueueCarrier) -> Carrier:
        return queues

    def test_batches_that_are_taken_in_part_are_sent_in_part_again(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        chance, sent = random.Random(1), list[int]()

        def only_some(arguments: dict[str, Any]) -> dict[str, Any]:
            sent.append(len(arguments["Entries"]))
            kept = [entry for entry in arguments["Entries"] if chance.random() < 0.5] or arguments["Entries"][:1]
            return arguments | {"Entries": kept}

        def with_failed(arguments: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            done = {entry["Id"] for entry in answer["Successful"]}
            failed = [{"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in arguments["Entries"]]
            return answer | {"Failed": [entry for entry in failed if entry["Id"] not in done]}

        clients["sqs"].before["send_message_batch"], clients["sqs"].after["send_message_batch"] = only_some, with_failed
        long, small = bytes(3 * PIECE_BYTES), bytes(100)
        for name in ("a", "b"):
            carrier.send(box, name, pieces({0: long, 1: small, 2: small, 3: small}))
        assert len(sent) > 8, "each of eight batches once, some again"
        assert fetched(carrier, box, 0, [("a", long), ("b", long)]) == [long] * 2
        assert fetched(carrier, box, 3, [("b", small)]) == [small]

    def test_a_batch_that_is_never_taken_is_an_error(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        """Nobody gets a receipt for it."""
        refused = {"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents"}
        clients["sqs"].after["send_message_batch"] = lambda _, __: {"Failed": [refused]}
        with pytest.raises(StoreError, match="InvalidMessageContents"):
            carrier.send(box, "a", pieces({0: b"x"}))

    def test_messages_come_twice_late_and_in_any_order(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        send_all(carrier, box)
        chance, kept = random.Random(2), list[Any]()

        def disorder(_: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            messages = [*answer.get("Messages", ()), *kept]
            chance.shuffle(messages)
            kept[:] = messages[: chance.randrange(len(messages) + 1)]
            return answer | {"Messages": messages}

        clients["sqs"].after["receive_message"] = disorder
        assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values())

    def test_what_a_reader_held_that_died_comes_back(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        """It had received some of it when its process ended: nothing was given back, nothing deleted."""
        send_all(carrier, box)
        clients["sqs"].before["change_message_visibility_batch"] = lambda arguments: arguments | {"Entries": arguments["Entries"][:0]}
        sqs, url = clients["sqs"], clients["sqs"].get_queue_url(QueueName=f"{box_name(STACK, box)}-0")["QueueUrl"]
        taken = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=5, VisibilityTimeout=2)["Messages"]
        assert taken
        del clients["sqs"].before["change_message_visibility_batch"]
        assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values())
        assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values()), "and again"

    def test_two_readers_at_once_get_all_of_it_both(self, carrier: Carrier, box: str) -> None:  # noqa: F811
        """A backup beside a slow attempt: neither takes anything from the other one for good."""
        send_all(carrier, box)
        begin = threading.Barrier(2)

        def reader() -> list[bytes]:
            begin.wait()
            return fetched(carrier, box, 0, list(SENT.items()))

        with ThreadPoolExecutor(2) as pool:
            assert [each.result() for each in [pool.submit(reader), pool.submit(reader)]] == [list(SENT.values())] * 2

    def test_what_was_received_many_times_does_not_vanish(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        """No queue of dead letters takes what retries and backups have read before."""
        send_all(carrier, box)
        for _ in range(12):
            assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values())
        sqs = clients["sqs"]
        url = sqs.get_queue_url(QueueName=f"{box_name(STACK, box)}-0")["QueueUrl"]
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert not told.get("RedrivePolicy")
        assert int(told["MessageRetentionPeriod"]) == KEEP_SECONDS

    def test_a_strangers_message_is_in_nobodys_way(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        sqs = clients["sqs"]
        url = sqs.get_queue_url(QueueName=f"{box_name(STACK, box)}-0")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="hello")
        send_all(carrier, box)
        assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values())

    def test_messages_that_have_expired_are_named(self, clients: Hooked) -> None:
        carrier, name = QueueCarrier(clients, STACK, visible_seconds=1, patience=1), f"jobs/{uuid4().hex[:8]}"
        carrier.hold(name, 1)
        for sent in ("map/000000/001", "map/000001/001"):
            carrier.send(name, sent, pieces({0: b"x" * 9}))

        def expire(_: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            kept = [each for each in answer.get("Messages", ()) if b"000001" not in each["MessageAttributes"]["data"]["BinaryValue"]]
            return answer | {"Messages": kept}

        clients["sqs"].after["receive_message"] = expire
        with pytest.raises(CorruptObjectError, match=r"has not given 9 bytes of map/000001/001 within 1 seconds.*have expired"):
            fetched(carrier, name, 0, [("map/000000/001", b"x" * 9), ("map/000001/001", b"x" * 9)])
        carrier.remove(name, 1)

    def test_more_partitions_than_queues_are_refused(self, carrier: Carrier) -> None:
        with pytest.raises(ConfigError, match=f"500 at most, and the job has {MOST_QUEUES + 1}"):
            carrier.hold("jobs/many", MOST_QUEUES + 1)

    def test_a_queue_that_is_gone_is_told(self, carrier: Carrier, box: str) -> None:  # noqa: F811
        send_all(carrier, box)
        carrier.remove(box, PARTITIONS)
        with pytest.raises(CorruptObjectError, match=r"it was removed\. Submit the job again"):
            fetched(carrier, box, 0, list(SENT.items()))
        with pytest.raises(CorruptObjectError, match="it was removed"):
            carrier.send(box, "zombie", pieces({0: b"x"}))


class TestStreamsWithFaults:
    @pytest.fixture
    def carrier(self, streams: StreamCarrier) -> Carrier:
        return streams

    def test_records_that_are_refused_are_put_again(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        """A shard takes a mebibyte a second: answers name the records that it did not take."""
        chance, calls = random.Random(3), list[int]()

        def only_some(arguments: dict[str, Any]) -> dict[str, Any]:
            calls.append(len(arguments["Records"]))
            taken[:] = [chance.random() < 0.6 for _ in arguments["Records"]]
            taken[0] = True
            return arguments | {"Records": [record for record, took in zip(arguments["Records"], taken, strict=True) if took]}

        def with_refused(_: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            refused, records = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slower"}, iter(answer["Records"])
            return answer | {"Records": [next(records) if took else refused for took in taken], "FailedRecordCount": taken.count(False)}

        taken: list[bool] = []
        clients["kinesis"].before["put_records"], clients["kinesis"].after["put_records"] = only_some, with_refused
        send_all(carrier, box)
        assert len(calls) > len(SENT)
        assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values())

    def test_an_answer_that_is_lost_is_an_error_and_the_retry_counts_once(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        clients["kinesis"].after["put_records"] = loses_answers(1)
        with pytest.raises(StoreError, match="Sending to smr_"):
            carrier.send(box, "a/001", pieces({0: b"first"}))
        carrier.send(box, "a/001", pieces({0: b"first"}))
        carrier.send(box, "a/002", pieces({0: b"other"}))
        assert fetched(carrier, box, 0, [("a/002", b"other")]) == [b"other"]
        assert fetched(carrier, box, 0, [("a/001", b"first")]) == [b"first"]

    def test_records_come_twice_and_in_any_order(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        send_all(carrier, box)
        chance = random.Random(4)

        def disorder(_: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            records = [*answer["Records"], *answer["Records"]]
            last = records[-1:]
            chance.shuffle(records)
            return answer | {"Records": [*records, *last]}

        clients["kinesis"].after["get_records"] = disorder
        assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values())

    def test_iterators_expire_and_readers_are_refused(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        send_all(carrier, box)
        errors = ["ProvisionedThroughputExceededException", "ExpiredIteratorException"] * 3

        def refuse(arguments: dict[str, Any]) -> dict[str, Any]:
            if errors and arguments.get("Limit") != 1:
                raise clients["kinesis"]._client.exceptions.from_code(errors[0])(
                    {"Error": {"Code": errors.pop(0), "Message": "later"}}, "GetRecords"
                )
            return arguments

        clients["kinesis"].before["get_records"] = refuse
        assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values())
        assert not errors

    def test_a_strangers_record_is_in_nobodys_way(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        clients["kinesis"].put_record(StreamName=box_name(STACK, box), Data=b"hello", PartitionKey="x", ExplicitHashKey="0")
        send_all(carrier, box)
        assert fetched(carrier, box, 0, list(SENT.items())) == list(SENT.values())

    def test_records_that_are_kept_no_longer_are_named(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        """The beginning of the shard is a day behind, and moves on."""
        send_all(carrier, box)

        def trim(_: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
            return answer | {"Records": [record for record in answer["Records"] if FIRST.encode() not in bytes(record["Data"])]}

        clients["kinesis"].after["get_records"] = trim
        with pytest.raises(CorruptObjectError, match=rf"has lost records: .* bytes of {FIRST}.*It keeps them for a day"):
            fetched(carrier, box, 0, list(SENT.items()))

    def test_a_shard_that_was_split_is_told(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        send_all(carrier, box)
        clients["kinesis"].after["get_records"] = lambda _, answer: answer | {"Records": [], "NextShardIterator": None}
        with pytest.raises(CorruptObjectError, match="somebody split or merged it"):
            fetched(carrier, box, 0, list(SENT.items()))

    def test_a_stream_that_is_gone_is_told(self, carrier: Carrier, box: str, clients: Hooked) -> None:  # noqa: F811
        send_all(carrier, box)
        assert box_name(STACK, box) in clients["kinesis"].list_streams()["StreamNames"]
        carrier.remove(box, PARTITIONS)
        assert box_name(STACK, box) not in clients["kinesis"].list_streams()["StreamNames"]
        with pytest.raises(CorruptObjectError, match=r"it was removed\. Submit the job again"):
            fetched(carrier, box, 0, list(SENT.items()))


# ---------------------------------------------------------------- collecting


def test_a_packed_piece_is_no_other_one() -> None:
    data = packed("map/000001/002", Piece(3, PIECE_BYTES, b"bytes"))
    assert unpacked(data) == ("map/000001/002", Piece(3, PIECE_BYTES, b"bytes"))
    for offset in range(len(data)):
        with pytest.raises(CorruptObjectError):
            unpacked(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        with pytest.raises(CorruptObjectError):
            unpacked(data[:offset])


def test_pieces_that_do_not_fit_are_refused() -> None:
    collector = Collector(0, [Wanted("a", PIECE_BYTES + 5)])
    for piece in (Piece(0, 1, b"x"), Piece(0, PIECE_BYTES, b"four"), Piece(0, 0, b"short"), Piece(0, 5 * PIECE_BYTES, b"beyond")):
        with pytest.raises(CorruptObjectError, match="other pieces"):
            collector.add("a", piece)
    assert not collector.add("b", Piece(0, 0, b"x"))
    assert not collector.add("a", Piece(1, 0, b"x"))
    assert not collector.complete
    assert collector.told() == f"{PIECE_BYTES + 5:,} bytes of a"
