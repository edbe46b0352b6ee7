using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using EdgeSimulator.Accounting;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;

namespace SensorForwarder.Tests.Simulator;

public sealed class LedgerTests
{
    readonly FakeTimeProvider _time = new();
    readonly Ledger _ledger;

    public LedgerTests()
    {
        _ledger = new Ledger(_time);
    }

    /// <summary>Random batches of several epochs, compared with a model that stores every id in sets.</summary>
    [Fact]
    public void Ledger_agrees_with_a_naive_model() =>
        Gen.Select(Gen.Int[1, 3], Gen.Long[1, 60], Gen.Int[0, 12], Gen.Bool)
            .Array[0, 40]
            .Sample(batches =>
            {
                var ledger = new Ledger(_time);
                var received = new List<(int Epoch, long Id)>();
                var evicted = new HashSet<long>();
                foreach (var (epoch, first, count, isGap) in batches)
                {
                    var ids = Enumerable.Range(0, count).Select(offset => first + offset).ToList();
                    ledger.Record(Body($"e{epoch}", ids, isGap ? (first + 3, first + 7) : null), out _);
                    received.AddRange(ids.Select(id => (epoch, id)));
                    if (isGap && count > 0)
                    {
                        evicted.UnionWith(Enumerable.Range(3, 5).Select(offset => first + offset));
                    }
                }

                var summary = ledger.Summary();
                var unique = received.ToHashSet();
                Assert.Equal(received.Count, summary.Received);
                Assert.Equal(unique.Count, summary.Unique);
                Assert.Equal(received.Count - unique.Count, summary.Duplicates);
                var spans = summary.Epochs
                    .Select(epoch => (Epoch: epoch, Number: int.Parse(epoch.Epoch[1..], System.Globalization.CultureInfo.InvariantCulture)))
                    .Select(epoch => (epoch.Epoch, epoch.Number, First: unique.Where(key => key.Epoch == epoch.Number).Select(key => key.Id).DefaultIfEmpty(1).Min()))
                    .OrderBy(span => span.First).ToList();
                var covered = 0L;
                foreach (var (epoch, number, first) in spans)
                {
                    var begin = Math.Min(first, covered + 1);
                    covered = Math.Max(covered, epoch.MaxId);
                    var missing = Enumerable.Range((int)begin, Math.Max(0, (int)(epoch.MaxId - begin + 1))).Select(id => (long)id)
                        .Where(id => !unique.Contains((number, id))).ToList();
                    Assert.Equal(
                        missing.Where(id => !evicted.Contains(id)),
                        epoch.LostRanges.SelectMany(range => Enumerable.Range((int)range.First, (int)(range.Last - range.First + 1)).Select(id => (long)id)));
                    Assert.Equal(missing.Count(evicted.Contains), epoch.Evicted);
                }
            });

    [Fact]
    public void An_epoch_continues_the_ids_of_the_previous_one_and_ids_missing_between_them_are_lost()
    {
        _ledger.Record(Body("e1", [1, 2, 3]), out _);
        _ledger.Record(Body("e2", [6, 7]), out _);
        _ledger.Committed(new EpochKey("d", "m", "e3"), 9);
        Assert.Equal((0, 2, 2), (Lost("e1"), Lost("e2"), Lost("e3")));
        Assert.False(_ledger.IsComplete(new EpochKey("d", "m", "e3"), 9));

        // The missing ids arrive later in the epoch in which they were stored, then again from an older copy of the
        // file.
        _ledger.Record(Body("e1", [4, 5]), out _);
        _ledger.Record(Body("e3", [3, 4, 5, 6, 7, 8, 9]), out _);
        Assert.Equal(0, _ledger.Summary().Lost);
        Assert.True(_ledger.IsComplete(new EpochKey("d", "m", "e3"), 9));

        long Lost(string name) => _ledger.Summary().Epochs.Single(epoch => epoch.Epoch == name).Lost;
    }

    [Fact]
    public void Duplicate_is_explained_by_a_cut_before_its_acknowledgement()
    {
        _ledger.Record(Body("e", [1, 2]), out _);
        _ledger.Interrupted("cut");

        _ledger.Record(Body("e", [1, 2]), out _);

        var summary = _ledger.Summary();
        Assert.Equal(2, summary.Duplicates);
        Assert.Equal(2, summary.DuplicatesExplained);
        Assert.Equal(2, summary.DuplicateCauses["cut"]);
    }

    [Fact]
    public void Duplicate_is_not_explained_by_a_cut_long_after_its_acknowledgement()
    {
        _ledger.Record(Body("e", [1, 2]), out _)!.Acknowledge();
        _time.Advance(Ledger.AcknowledgementGrace + TimeSpan.FromMilliseconds(1));
        _ledger.Interrupted("cut");

        _ledger.Record(Body("e", [1, 2]), out _);

        Assert.Equal((2, 0), (_ledger.Summary().Duplicates, _ledger.Summary().DuplicatesExplained));
    }

    [Fact]
    public void Same_id_in_another_epoch_is_not_a_duplicate()
    {
        _ledger.Record(Body("e1", [1]), out _);
        _ledger.Record(Body("e2", [1]), out _);

        Assert.Equal((2, 0), (_ledger.Summary().Unique, _ledger.Summary().Duplicates));
    }

    [Fact]
    public void Committed_reading_that_did_not_arrive_is_lost()
    {
        _ledger.Record(Body("e", [1, 2, 5]), out _);
        _ledger.Committed(new EpochKey("d", "m", "e"), 7);

        Assert.Equal([(3, 4), (6, 7)], _ledger.Summary().Epochs.Single().LostRanges);
        Assert.False(_ledger.IsComplete(new EpochKey("d", "m", "e"), 5));
        Assert.True(_ledger.IsComplete(new EpochKey("d", "m", "e"), 2));
    }

    [Theory]
    [InlineData("nonsense")]
    [InlineData("[]")]
    [InlineData("""{"batch":{}}""")]
    [InlineData("""{"batch":[{"id":"1"}]}""")]
    [InlineData("""{"batch":[{"id":0}]}""")]
    [InlineData("""{"batch":[{"id":1.5}]}""")]
    [InlineData("""{"batch":[1]}""")]
    public void Body_that_is_no_batch_is_counted_as_a_message_only(string body)
    {
        Assert.Null(_ledger.Record(Encoding.UTF8.GetBytes(body), out var problem));

        Assert.NotNull(problem);
        Assert.Equal((1, 0), (_ledger.Summary().Messages, _ledger.Summary().Batches));
    }

    [Fact]
    public void Backlog_counts_the_readings_that_were_sensed_and_have_not_arrived()
    {
        var start = _time.GetUtcNow();
        _time.Advance(TimeSpan.FromSeconds(10));
        _ledger.Record(Body("e", [1, 2, 3], sensed: id => start.AddSeconds(id)), out _);
        _ledger.Record(Body("e", [4], sensed: _ => _time.GetUtcNow()), out _);

        Assert.Equal(4, _ledger.Summary().MaxBacklog);
    }

    [Fact]
    public async Task Readings_that_the_buffer_reports_as_evicted_do_not_count_as_lost()
    {
        using var files = new Buffer.BufferFixture();
        await using var buffer = await files.OpenAsync(Buffer.BufferFixture.AtOnce with { WhenFull = WhenFull.DropOldest, MaxBytes = BufferLimits.MinMaxBytes });
        var token = TestContext.Current.CancellationToken;
        var ledger = new Ledger(TimeProvider.System);
        var encoder = new BatchEncoder("d", "m");
        await Task.WhenAll(Enumerable.Range(1, 20_000).Select(i => buffer.EnqueueAsync(Buffer.BufferFixture.Incompressible(i), token).AsTask()));
        Assert.NotEmpty(buffer.GetStatus().Evicted);

        // The gap reading is written with the first acknowledgement.
        while (buffer.PeekBatch(0, 500, 1 << 20) is { Count: > 0 } readings)
        {
            ledger.Record(encoder.Encode(readings, int.MaxValue).Body, out _);
            await buffer.AcknowledgeAsync(readings[0].Id, readings[^1].Id, token);
        }

        var epoch = Assert.Single(ledger.Summary().Epochs);
        Assert.True(epoch.Evicted > 0);
        Assert.Equal(0, epoch.Lost);
    }

    static byte[] Body(string epoch, IEnumerable<long> ids, (long First, long Last)? gap = null, Func<long, DateTimeOffset>? sensed = null)
    {
        JsonObject Data(long id) => (gap, sensed) switch
        {
            ({ } g, _) => new() { ["kind"] = "gap", ["gap"] = new JsonObject { ["firstId"] = g.First, ["lastId"] = g.Last } },
            (_, { } time) => new() { ["kind"] = "simulated", ["time"] = time(id).ToString("o") },
            _ => [],
        };
        var batch = new JsonArray([.. ids.Select(id => new JsonObject { ["id"] = id, ["data"] = Data(id) })]);
        var body = new JsonObject { ["device"] = "d", ["module"] = "m", ["epoch"] = epoch, ["batch"] = batch };
        return Encoding.UTF8.GetBytes(body.ToJsonString());
    }
}
