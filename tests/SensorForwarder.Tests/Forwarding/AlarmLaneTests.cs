using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Alarms are sent before everything else.</summary>
public sealed class AlarmLaneTests
{
    static readonly ForwardingSettings[] Orders =
    [
        new() { BatchSize = 10, UploadInterval = TimeSpan.Zero },
        new() { BatchSize = 10, UploadInterval = TimeSpan.FromSeconds(10), DrainOrder = DrainOrder.LiveFirst },
    ];

    public static TheoryData<bool> BothOrders { get; } = [false, true];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    internal static Reading Alarm(int number) => BufferFixture.Reading(number) with
    {
        Kind = AlarmReport.Kind,
        Values = [new("number", number)],
        Alarm = new("number above 30", AlarmReport.Raised, "warning", "above", BufferFixture.Noon) { Value = "number", Threshold = 30 },
    };

    static async Task StoreAlarmAsync(TelemetryBuffer buffer, int number)
    {
        Assert.True(buffer.TryEnqueueUrgent(Alarm(number), "alarms", new byte[] { (byte)number }, out var stored));
        await stored;
    }

    static IEnumerable<long> Ids(Batch batch) => batch.Readings.Select(reading => reading.Id);

    static IEnumerable<long> Range(int first, int last) => Enumerable.Range(first, last - first + 1).Select(n => (long)n);

    [Theory]
    [MemberData(nameof(BothOrders))]
    public async Task An_alarm_is_sent_before_the_backlog_in_its_own_batch(bool isLiveFirst)
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var fixture = await ForwarderFixture.StartAsync(http: sink, settings: Orders[isLiveFirst ? 1 : 0]);
        await fixture.StoreAsync(25);
        await StoreAlarmAsync(fixture.Buffer, 26);
        await StoreAlarmAsync(fixture.Buffer, 27);
        await fixture.StoreAsync(8, from: 28);
        await StoreAlarmAsync(fixture.Buffer, 36);
        Assert.Equal([26, 27, 36], fixture.Buffer.Urgent.SelectMany(range => Range((int)range.First, (int)range.Last)));
        await fixture.RunAsync();
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));

        // Neighbours share a batch.
        Assert.Equal([[26, 27], [36]], sink.Seen.Take(2).Select(batch => Ids(batch).ToArray()));
        Assert.Equal(["alarm", "alarm"], sink.Seen.Take(2).Select(batch => batch.LaneName));
        Assert.Equal(["alarm", "alarm"], sink.Seen.Take(2).Select(batch => batch.Output));
        Assert.All(sink.Seen.Skip(2), batch => Assert.NotEqual(Lane.Alarm, batch.Lane));
        Assert.Equal(Range(1, 36), sink.Seen.SelectMany(Ids).Order());
        await fixture.Buffer.CommitAsync(Token);
        Assert.True(fixture.Buffer.Urgent.IsEmpty);
        Assert.Equal(2, fixture.Forwarder.Status.AlarmBatches);
    }

    [Theory]
    [MemberData(nameof(BothOrders))]
    public async Task A_new_alarm_overtakes_a_backlog_that_is_being_sent(bool isLiveFirst)
    {
        var sink = new FakeSink();
        await using var fixture = await ForwarderFixture.StartAsync(http: sink, settings: Orders[isLiveFirst ? 1 : 0]);
        await fixture.StoreAsync(100);
        fixture.Clock.SetUtcNow(BufferFixture.Noon.AddSeconds(200));
        await fixture.RunAsync();
        var first = await fixture.NextAfterBackoffAsync(sink); // a backlog is not sent in the very first moment
        Assert.Equal(Range(1, 10), Ids(first.Batch));
        await StoreAlarmAsync(fixture.Buffer, 101);
        first.Answer.SetResult(SendResult.Accepted);
        var second = await sink.NextAsync();
        Assert.Equal([101], Ids(second.Batch));
        second.Answer.SetResult(SendResult.Accepted);
        var third = await sink.NextAsync();
        Assert.Equal(Range(11, 20), Ids(third.Batch));
        sink.Rule = _ => SendResult.Accepted;
        third.Answer.SetResult(SendResult.Accepted);
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
    }

    [Fact]
    public async Task An_alarm_that_could_not_be_sent_is_retried_before_all_other_readings()
    {
        var sink = new FakeSink();
        await using var fixture = await ForwarderFixture.StartAsync(http: sink);
        await fixture.StoreAsync(5);
        await StoreAlarmAsync(fixture.Buffer, 6);
        await fixture.RunAsync();
        (await sink.NextAsync()).Answer.SetResult(new(SendOutcome.Retry, "503"));
        var again = await fixture.NextAfterBackoffAsync(sink);
        Assert.Equal([6], Ids(again.Batch));
        Assert.Equal(Lane.Alarm, again.Batch.Lane);
        again.Answer.SetResult(SendResult.Accepted);
        var rest = await sink.NextAsync();
        Assert.Equal(Range(1, 5), Ids(rest.Batch));
        rest.Answer.SetResult(SendResult.Accepted);
        await fixture.UntilDepthAsync(0);
    }

    [Fact]
    public void When_the_receiver_rejects_reading_after_reading_the_sample_is_not_taken_from_the_waiting_alarms()
    {
        var now = new Situation { Settings = new(), Fresh = IdSet.Of(1, 20), Urgent = IdSet.Of(20, 20), LastId = 20, SinceLastSend = TimeSpan.FromHours(1) };
        Assert.Equal(Lane.Alarm, Plan.Next(now).Lane);
        var plan = Plan.Next(now with { WantsSample = true, IsProbing = true });
        Assert.Equal((Lane.Live, IdSet.Of(1, 19), true), (plan.Lane, plan.Ids, plan.IsSample));
    }

    [Fact]
    public void Alarms_do_not_affect_how_the_live_and_backfill_lanes_alternate()
    {
        var now = new Situation
        {
            Settings = Orders[1],
            Fresh = IdSet.Of(1, 50),
            Urgent = IdSet.Of(50, 50),
            LastId = 50,
            LiveAfter = 40,
            Window = 3,
            SinceLastSend = TimeSpan.FromHours(1),
        };
        Assert.Equal(Lane.Alarm, Plan.Next(now).Lane);
        now = now with { Fresh = IdSet.Of(1, 49), Urgent = IdSet.Empty };
        Assert.Equal(Lane.Backfill, Plan.Next(now with { InFlight = [Lane.Alarm], LastLane = Lane.Live }).Lane);
        Assert.Equal(Lane.Live, Plan.Next(now with { InFlight = [Lane.Alarm], LastLane = Lane.Backfill }).Lane);

        // The last place of the window is for new readings, and for alarms.
        now = now with { Urgent = IdSet.Of(49, 49), InFlight = [Lane.Backfill, Lane.Live] };
        Assert.Equal(Lane.Alarm, Plan.Next(now).Lane);
        Assert.Null(Plan.Next(now with { Fresh = IdSet.Of(1, 40), Urgent = IdSet.Empty }).Lane);
    }

    [Fact]
    public async Task A_waiting_alarm_is_still_known_as_an_alarm_after_a_restart()
    {
        using var files = new BufferFixture(inMemory: true);
        await using (var buffer = await files.OpenAsync())
        {
            await Task.WhenAll(Enumerable.Range(1, 100).Select(n => buffer.EnqueueAsync(BufferFixture.Reading(n), Token).AsTask()));
            await StoreAlarmAsync(buffer, 101);
            await StoreAlarmAsync(buffer, 102);
            await buffer.AcknowledgeAsync(IdSet.Of(102, 102), Token);
        }

        await using var again = await files.OpenAsync();
        Assert.Equal(IdSet.Of(101, 101), again.Urgent);
        Assert.Equal([102], again.LoadDocument("alarms")!.Value.ToArray());
    }

    [Fact]
    public async Task An_alarm_stays_an_alarm_when_it_is_handed_over_and_returned_until_it_is_delivered()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        await StoreAlarmAsync(buffer, 1);
        await buffer.HandOverAsync(IdSet.Of(1, 1), Token);
        Assert.Equal(IdSet.Of(1, 1), buffer.Urgent);
        await buffer.GiveBackAsync(IdSet.Of(1, 1), Token);
        Assert.Equal((IdSet.Of(1, 1), IdSet.Of(1, 1)), (buffer.Waiting.Ids, buffer.Urgent));
        await buffer.AcknowledgeAsync(IdSet.Of(1, 1), Token);
        Assert.True(buffer.Urgent.IsEmpty);
        await buffer.GiveBackAsync(IdSet.Of(1, 1), Token); // replayed
        Assert.True(buffer.Urgent.IsEmpty);
    }

    [Fact]
    public async Task A_dead_lettered_alarm_that_is_retried_is_an_alarm_again()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        await buffer.EnqueueAsync(BufferFixture.Reading(1), Token);
        await StoreAlarmAsync(buffer, 2);
        await buffer.DeadLetterAsync(1, "rejected", null, Token);
        await buffer.DeadLetterAsync(2, "rejected", null, Token);
        Assert.True(buffer.Urgent.IsEmpty);
        await buffer.RetryDeadLettersAsync(Token);
        Assert.Equal((IdSet.Of(1, 2), IdSet.Of(2, 2)), (buffer.Waiting.Ids, buffer.Urgent));
    }

    [Fact]
    public async Task Alarms_are_not_thinned_while_they_wait()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync(new() { CommitInterval = TimeSpan.Zero, MaxBytes = 1 << 20, WhenFull = WhenFull.Thin });
        var alarms = 0;
        while (buffer.GetStatus().Evicted.Sum(total => total.Count) < 2_000)
        {
            await StoreAlarmAsync(buffer, ++alarms);
            await Task.WhenAll(Enumerable.Range(0, 200).Select(n => buffer.EnqueueAsync(BufferFixture.Incompressible(n), Token).AsTask()));
        }

        Assert.Equal(["thinned"], buffer.GetStatus().Evicted.Select(total => total.Reason));
        Assert.Equal(alarms, BufferFixture.ReadAll(buffer).Count(row => AlarmReport.IsIn(row.Payload.Span)));
    }

    [Fact]
    public async Task The_number_of_id_ranges_of_alarms_is_limited_and_the_newest_are_kept()
    {
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync();
        for (var i = 0; i < 300; i++)
        {
            await StoreAlarmAsync(buffer, 1 + (2 * i));
            await buffer.EnqueueAsync(BufferFixture.Reading(2 + (2 * i)), Token);
        }

        Assert.Equal((256, 89L, 599L), (buffer.Urgent.RangeCount, buffer.Urgent.First, buffer.Urgent.Last));
    }
}
