using System.Text;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>The forwarder's next action, as a function of its situation.</summary>
public sealed class PlanTests
{
    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    static readonly ForwardingSettings LiveFirst = new() { DrainOrder = DrainOrder.LiveFirst };

    // With liveFirst, 1..40 are backlog and 41..50 are live.
    static readonly Situation Fifty = new()
    {
        Settings = new(),
        Fresh = IdSet.Of(1, 50),
        LastId = 50,
        LiveAfter = 40,
        Window = 3,
        SinceLastSend = TimeSpan.FromHours(1),
    };

    static readonly Situation TwoLanes = Fifty with { Settings = LiveFirst };

    internal static Batch Batch(long first, long last, Lane lane = Lane.Live) => new(
        "epoch",
        [.. Enumerable.Range((int)first, (int)(last - first + 1)).Select(id => new BufferedReading(id, default, Encoding.UTF8.GetBytes("{}")))],
        new byte[100])
    {
        Lane = lane,
    };

    static (Lane?, IdSet, bool) Cut(Plan plan) => (plan.Lane, plan.Ids, plan.CanGrow);

    [Fact]
    public void With_one_lane_the_oldest_readings_are_next_and_new_readings_can_join_the_batch() =>
        Assert.Equal((Lane.Live, IdSet.Of(1, 50), true), Cut(Plan.Next(Fifty)));

    [Fact]
    public void New_readings_do_not_join_a_batch_that_ends_at_a_gap_in_the_ids() =>
        Assert.False(Plan.Next(Fifty with { Fresh = IdSet.Of(1, 5).Union(IdSet.Of(9, 50)) }).CanGrow);

    [Fact]
    public void With_two_lanes_the_newest_readings_are_live_and_the_others_are_backfill()
    {
        Assert.Equal((Lane.Live, IdSet.Of(41, 50), true), Cut(Plan.Next(TwoLanes with { LastLane = Lane.Backfill })));
        Assert.Equal((Lane.Backfill, IdSet.Of(1, 40), false), Cut(Plan.Next(TwoLanes with { Fresh = IdSet.Of(1, 40) })));
    }

    [Fact]
    public void A_returned_batch_is_sent_before_newer_readings_of_its_lane()
    {
        Batch old = Batch(1, 9), young = Batch(41, 49);
        Assert.Same(old, Plan.Next(Fifty with { Fresh = IdSet.Of(10, 50), Again = [old] }).Again);
        Assert.Equal((Lane.Live, IdSet.Of(1, 40), false), Cut(Plan.Next(Fifty with { Fresh = IdSet.Of(1, 40), Again = [young] })));
        Assert.Same(young, Plan.Next(TwoLanes with { Fresh = IdSet.Of(1, 40), Again = [young], LastLane = Lane.Backfill }).Again);
    }

    [Fact]
    public void One_place_stays_free_for_new_readings_and_the_lanes_alternate_when_the_window_is_full()
    {
        var backlog = TwoLanes with { Fresh = IdSet.Of(1, 40), LastLane = Lane.Backfill };
        Assert.Equal(Lane.Backfill, Plan.Next(backlog with { InFlight = [Lane.Backfill] }).Lane);
        Assert.Null(Plan.Next(backlog with { InFlight = [Lane.Backfill, Lane.Backfill] }).Lane);
        Assert.Equal(Lane.Backfill, Plan.Next(TwoLanes with { InFlight = [Lane.Live, Lane.Live], LastLane = Lane.Live }).Lane);
        Assert.Equal(Lane.Live, Plan.Next(TwoLanes with { InFlight = [Lane.Live, Lane.Backfill], LastLane = Lane.Live }).Lane);
    }

    [Fact]
    public void No_send_starts_while_the_window_is_closed_or_full_the_circuit_is_open_or_a_probe_is_in_flight()
    {
        Assert.Null(Plan.Next(Fifty with { Window = 0 }).Lane);
        Assert.Equal((null, Second), (Plan.Next(Fifty with { UntilAttempt = Second }).Lane, Plan.Next(Fifty with { UntilAttempt = Second }).Wait));
        Assert.Null(Plan.Next(Fifty with { InFlight = [Lane.Live, Lane.Live, Lane.Live] }).Lane);
        Assert.Null(Plan.Next(Fifty with { InFlight = [Lane.Live], IsProbing = true }).Lane);
        Assert.Null(Plan.Next(Fifty with { Fresh = IdSet.Empty }).Lane);
    }

    [Fact]
    public void While_edgeHub_has_no_cloud_one_batch_a_minute_is_sent_and_a_flush_does_not_wait()
    {
        var held = Fifty with { IsHeld = true, SinceLastSend = Second };
        Assert.Equal(TimeSpan.FromSeconds(5), Plan.Next(held).Wait);
        Assert.Null(Plan.Next(held with { SinceLastSend = TimeSpan.FromHours(1), InFlight = [Lane.Live] }).Lane);
        Assert.NotNull(Plan.Next(held with { SinceLastSend = TimeSpan.FromMinutes(1) }).Lane);
        Assert.NotNull(Plan.Next(held with { IsFlushing = true }).Lane);
    }

    [Fact]
    public void A_backlog_waits_for_its_rate_unless_a_flush_is_running()
    {
        var slow = TwoLanes with { Fresh = IdSet.Of(1, 40), UntilBackfill = Second };
        Assert.Equal((null, Second), (Plan.Next(slow).Lane, Plan.Next(slow).Wait));
        Assert.Equal(Lane.Backfill, Plan.Next(slow with { IsFlushing = true }).Lane);
        Assert.Equal(Lane.Live, Plan.Next(Fifty with { UntilBackfill = Second }).Lane);
    }

    [Fact]
    public void A_held_lane_does_not_block_the_other_one_and_the_shorter_wait_counts()
    {
        var holds = new Dictionary<Lane, Hold> { [Lane.Backfill] = new(2 * Second, DateTimeOffset.UnixEpoch, true) };
        Assert.Equal(Lane.Live, Plan.Next(TwoLanes with { Holds = holds }).Lane);
        holds[Lane.Live] = new(Second);
        var plan = Plan.Next(TwoLanes with { Holds = holds });
        Assert.Equal((null, Second, 2), (plan.Lane, plan.Wait, plan.Holds.Count));
    }

    [Fact]
    public void Replayed_readings_are_backfill_even_with_one_lane()
    {
        var replaying = Fifty with { Replayed = IdSet.Of(1, 10), LastLane = Lane.Backfill };
        Assert.Equal((Lane.Live, IdSet.Of(11, 50), true), Cut(Plan.Next(replaying)));
        Assert.Equal((Lane.Backfill, IdSet.Of(1, 10), false), Cut(Plan.Next(replaying with { LastLane = Lane.Live })));
        Assert.Equal(IdSet.Of(45, 50), Plan.Next(TwoLanes with { Fresh = IdSet.Of(45, 50), Replayed = IdSet.Of(45, 50) }).Ids);
    }

    [Fact]
    public void After_rejections_in_a_row_a_sample_of_all_readings_is_tried_and_with_two_lanes_of_the_backlog()
    {
        var probing = Fifty with { IsProbing = true, WantsSample = true, Again = [Batch(51, 55)] };
        Assert.Equal((true, IdSet.Of(1, 50)), (Plan.Next(probing).IsSample, Plan.Next(probing).Ids));
        var two = Plan.Next(probing with { Settings = LiveFirst });
        Assert.Equal((true, IdSet.Of(1, 40)), (two.IsSample, two.Ids));
        Assert.Same(probing.Again.Single(), Plan.Next(probing with { Fresh = IdSet.Empty }).Again);
    }
}
