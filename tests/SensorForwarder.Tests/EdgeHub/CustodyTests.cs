using CsCheck;
using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;
using Step = SensorForwarder.Tests.EdgeHub.CustodyWorld.Step;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>Each rule of <see cref="Custody"/> in a test, and all rules together against a model of edgeHub.</summary>
public sealed class CustodyTests
{
    static readonly int Plays = Tier.Size("TEST_CUSTODY_PLAYS", quick: 300, full: 1_000, deep: 20_000);

    // Disturbances have a low weight, so that the base is known most of the time.
    static readonly Gen<Step> AnyKind = Gen.Frequency(
        [.. Enum.GetValues<Step>().Select(step => (Weight(step), Gen.Const(step)))]);

    static readonly Gen<(Step Kind, int Number)> AnyStep = Gen.Select(AnyKind, Gen.Int[0, 11]);

    TimeSpan _now = TimeSpan.FromDays(3);
    Custody _custody = new(TimeSpan.FromDays(3));
    int _messages;
    string _instance = "first";
    long _sentByOthers;
    readonly Dictionary<string, long> _unrouted = [];

    [Fact]
    public void After_any_events_only_readings_that_arrived_count_as_delivered_and_in_the_end_all_are_delivered() =>
        AnyStep.List[0, 150].Sample(
            steps =>
            {
                var world = new CustodyWorld();
                foreach (var (kind, number) in steps) world.Do(kind, number);
                world.Recover();
                Assert.Equal(world.Readings, world.Delivered);
            },
            iter: Plays,
            print: steps => string.Join(", ", steps.Select(step => $"{step.Kind} {step.Number}")));

    [Fact]
    public void A_queue_that_vanishes_without_being_sent_stays_held_and_its_messages_are_sent_again()
    {
        Start(received: 30);
        HandOver(64);
        Assert.Equal(Verdict.Nothing, Look(received: 94, sent: 30, queue: 64));
        Assert.False(_custody.IsHolding);
        Assert.Equal(Verdict.Nothing, Look(received: 94, sent: 30, queue: 64));
        Assert.True(_custody.IsHolding);
        Assert.Equal(Verdict.Nothing, Look(received: 94, sent: 30, queue: 0));
        Assert.True(_custody.IsHolding);
        Assert.Equal(new(IdSet.Empty, IdSet.Of(31, 94), Lost: 64), Look(received: 94, sent: 30, queue: 0));
        Look(received: 94, sent: 30, queue: 3);
        Look(received: 94, sent: 30, queue: 0);
        Assert.True(_custody.IsHolding);

        HandOver(64);
        Assert.Equal(IdSet.Of(95, 158), Look(received: 158, sent: 94, queue: 0).Delivered);
        Assert.False(_custody.IsHolding);
    }

    [Fact]
    public void A_gauge_of_1_after_a_restart_does_not_hold_readings_back_once_messages_are_sent()
    {
        Start(received: 30);
        HandOver(5);
        Look(received: 35, sent: 30, queue: 5);
        Look(received: 35, sent: 30, queue: 5);
        Assert.True(_custody.IsHolding);

        _instance = "second";
        Look(received: 0, sent: 0, queue: 6);
        Assert.True(_custody.IsHolding);
        Look(received: 1, sent: 6, queue: 1);
        Assert.False(_custody.IsHolding);
        HandOver(1);
        Look(received: 2, sent: 7, queue: 1);
        Look(received: 2, sent: 7, queue: 1);
        Assert.False(_custody.IsHolding);
    }

    [Fact]
    public void A_new_edgeHub_is_sent_the_first_message_two_page_reads_after_it_accepted_the_connection()
    {
        _custody.ScrapeRequested(isConnected: false); // edgeHub may be loading its store
        _custody.Scraped(Page(received: 0, sent: 0, queue: 0), _now);
        for (var look = 0; look < 2; look++)
        {
            Assert.True(_custody.IsPausing);
            _custody.ScrapeRequested(isConnected: true);
            _custody.Scraped(Page(received: 0, sent: 0, queue: 0), _now);
        }

        Assert.False(_custody.IsPausing);
        HandOver(2);
        Assert.Equal(new(IdSet.Of(1, 2), IdSet.Empty, Lost: 0), Look(received: 2, sent: 2, queue: 0));
    }

    [Fact]
    public void Nothing_is_sent_to_a_running_edgeHub_until_its_counters_are_stable()
    {
        Look(received: 30, sent: 25, queue: 0);
        Assert.True(_custody.IsPausing);
        _now += Custody.LongestPause; // the page was not read meanwhile, and no rest is needed
        Look(received: 30, sent: 25, queue: 0);
        Assert.False(_custody.IsPausing);
        HandOver(2);
        Assert.Equal(new(IdSet.Of(1, 2), IdSet.Empty, Lost: 0), Look(received: 32, sent: 27, queue: 0));
    }

    [Fact]
    public void The_first_message_does_not_wait_when_the_page_shows_unrouted_messages_and_no_queue()
    {
        _custody.ScrapeRequested(isConnected: true);
        var none = new Dictionary<string, long>();
        _custody.Scraped(new(_instance, 5, 0, new Dictionary<string, long> { ["live"] = 5 }, none, none), _now);
        Assert.False(_custody.IsPausing);
    }

    [Fact]
    public void The_first_message_does_not_wait_when_edgeHub_has_queued_messages()
    {
        Look(received: 30, sent: 25, queue: 0);
        Assert.True(_custody.IsPausing);
        Look(received: 30, sent: 25, queue: 3);
        Assert.False(_custody.IsPausing);
    }

    [Fact]
    public void A_balance_confirms_every_message_that_was_acknowledged_before_the_page_was_requested()
    {
        Start(received: 0);
        HandOver(3);
        Assert.Equal(IdSet.Of(1, 3), _custody.HandedOver);
        Assert.Equal(Verdict.Nothing, Look(received: 3, sent: 2, queue: 1)); // there is no partial confirmation
        Assert.Equal(IdSet.Of(1, 3), Look(received: 3, sent: 3, queue: 0).Delivered);
        Assert.True(_custody.HandedOver.IsEmpty);
    }

    [Fact]
    public void A_page_that_was_read_while_a_message_was_in_flight_confirms_nothing()
    {
        Start(received: 0);
        HandOver(1);
        _custody.Sent("on the way", "live", IdSet.Of(2, 2));
        Assert.Equal(Verdict.Nothing, Look(received: 1, sent: 1, queue: 0));
        _custody.Acknowledged("on the way", _now);
        Assert.Equal(IdSet.Of(1, 2), Look(received: 2, sent: 2, queue: 0).Delivered);

        HandOver(1);
        _custody.ScrapeRequested(isConnected: true);
        _custody.Sent("meanwhile", "live", IdSet.Of(4, 4));
        Assert.Equal(Verdict.Nothing, _custody.Scraped(Page(received: 3, sent: 3, queue: 0), _now));
    }

    [Fact]
    public void A_message_repeated_after_a_lost_acknowledgement_is_counted_twice_as_received_and_as_sent()
    {
        Start(received: 0);
        _custody.Sent("1", "live", IdSet.Of(1, 1));
        _custody.Abandoned("1");
        _custody.Sent("1", "live", IdSet.Of(1, 1));
        _custody.Acknowledged("1", _now);
        Assert.Equal(Verdict.Nothing, Look(received: 2, sent: 1, queue: 1));
        Assert.Equal(IdSet.Of(1, 1), Look(received: 2, sent: 2, queue: 0).Delivered);
        Assert.True(_custody.Acknowledged("1", _now).IsEmpty);
        Assert.True(_custody.HandedOver.IsEmpty);
    }

    [Fact]
    public void Under_traffic_a_constant_difference_causes_a_pause_that_confirms_the_loss()
    {
        Start(received: 10);
        HandOver(2);
        Look(received: 12, sent: 10, queue: 0);
        for (var sent = 11; sent <= 12; sent++)
        {
            Assert.False(_custody.IsPausing);
            HandOver(1);
            Assert.Equal(Verdict.Nothing, Look(received: sent + 2, sent: sent, queue: 0));
        }

        Assert.True(_custody.IsPausing);
        Assert.Equal(_now + Custody.ScrapeIntervalInPause, _custody.NextScrape);
        Assert.Equal(new(IdSet.Empty, IdSet.Of(11, 14), Lost: 2), Look(received: 14, sent: 12, queue: 0));
        Assert.False(_custody.IsPausing);

        HandOver(4);
        Assert.Equal(IdSet.Of(15, 18), Look(received: 18, sent: 16, queue: 0).Delivered);
    }

    [Fact]
    public void Expired_messages_that_stay_in_the_queue_do_not_hide_a_loss()
    {
        Start(received: 10);
        HandOver(3);
        Look(received: 13, sent: 10, queue: 3);
        for (var sent = 11; sent <= 15; sent++)
        {
            HandOver(1);
            Assert.Equal(Verdict.Nothing, Look(received: sent + 3, sent: sent, queue: 3));
        }

        Assert.True(_custody.IsPausing);
        Assert.Equal(new(IdSet.Empty, IdSet.Of(11, 18), Lost: 3), Look(received: 18, sent: 15, queue: 3));
    }

    [Fact]
    public void Sending_fewer_messages_than_the_queue_holds_does_not_prove_a_loss()
    {
        Start(received: 10);
        HandOver(30);
        Look(received: 40, sent: 10, queue: 30);
        for (var sent = 11; sent <= 20; sent++)
        {
            HandOver(1);
            Look(received: sent + 30, sent: sent, queue: 30);
        }

        Assert.Equal(Verdict.Nothing, Look(received: 50, sent: 20, queue: 30));
        Assert.Equal(Verdict.Nothing, Look(received: 50, sent: 20, queue: 30));
        Assert.Equal(IdSet.Of(11, 50), Look(received: 50, sent: 50, queue: 0).Delivered);
    }

    [Fact]
    public void Messages_that_other_modules_sent_after_ours_prove_that_ours_have_left_the_queue()
    {
        Start(received: 10);
        HandOver(1);
        Look(received: 11, sent: 10, queue: 5);
        _sentByOthers = 5;
        Assert.Equal(Verdict.Nothing, Look(received: 11, sent: 10, queue: 5));
        _sentByOthers = 6;
        Assert.Equal(IdSet.Of(11, 11), Look(received: 11, sent: 10, queue: 5).Returned);
    }

    [Fact]
    public void A_message_that_arrives_after_it_was_counted_as_lost_resets_the_balance()
    {
        Start(received: 10);
        HandOver(1);
        Look(received: 11, sent: 10, queue: 0);
        Assert.Equal(1, Look(received: 11, sent: 10, queue: 0).Lost);

        HandOver(1);
        Assert.Equal(Verdict.Nothing, Look(received: 12, sent: 12, queue: 0));
        HandOver(1);
        Assert.Equal(Verdict.Nothing, Look(received: 13, sent: 12, queue: 0)); // the old base would balance
        Assert.Equal(IdSet.Of(12, 13), Look(received: 13, sent: 12, queue: 0).Returned);
    }

    [Fact]
    public void After_a_restart_of_edgeHub_all_handed_over_readings_are_sent_again_once_its_store_is_stable()
    {
        Start(received: 10);
        HandOver(4);
        _instance = "second";
        Assert.Equal(Verdict.Nothing, Look(received: 0, sent: 0, queue: 5)); // 4, and the gauge is 1 too high
        HandOver(1);
        Assert.Equal(Verdict.Nothing, Look(received: 1, sent: 1, queue: 5)); // not a balance: one of the 4
        Assert.Equal(Verdict.Nothing, Look(received: 1, sent: 5, queue: 1));
        Assert.Equal(new(IdSet.Empty, IdSet.Of(11, 15), Lost: 0), Look(received: 1, sent: 5, queue: 1));

        HandOver(5);
        Assert.Equal(IdSet.Of(16, 20), Look(received: 6, sent: 10, queue: 1).Delivered);
    }

    [Fact]
    public void After_a_restart_of_edgeHub_sending_pauses_as_soon_as_messages_leave_its_store()
    {
        Start(received: 10);
        HandOver(1);
        _instance = "second";
        Look(received: 0, sent: 0, queue: 2);
        Assert.False(_custody.IsPausing); // while nothing leaves the store, a pause may not lead to rest
        HandOver(2);
        Look(received: 2, sent: 2, queue: 2);
        Assert.True(_custody.IsPausing);
        Look(received: 2, sent: 3, queue: 1);
        Assert.Equal(IdSet.Of(11, 13), Look(received: 2, sent: 3, queue: 1).Returned);
        Assert.False(_custody.IsPausing);
    }

    [Fact]
    public void A_gauge_of_1_counts_as_a_message_when_edgeHub_was_already_running()
    {
        Look(received: 5, sent: 5, queue: 1);
        HandOver(1);
        Look(received: 6, sent: 6, queue: 1);
        Assert.Equal(Verdict.Nothing, Look(received: 6, sent: 6, queue: 1));
        Assert.Equal(Verdict.Nothing, Look(received: 6, sent: 6, queue: 1));
        Look(received: 6, sent: 6, queue: 0);
        Assert.Equal(IdSet.Of(1, 1), Look(received: 6, sent: 6, queue: 0).Returned);
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(30, false)]
    public void A_gauge_of_1_counts_as_a_message_once_edgeHub_has_cleaned_up_its_store(int minutes, bool isEmpty)
    {
        Start(received: 10);
        _instance = "second";
        Look(received: 0, sent: 0, queue: 1);
        _now += TimeSpan.FromMinutes(minutes);
        HandOver(1);
        Look(received: 1, sent: 1, queue: 1);
        Assert.Equal(isEmpty ? IdSet.Of(11, 11) : IdSet.Empty, Look(received: 1, sent: 1, queue: 1).Returned);
    }

    [Fact]
    public void After_a_restart_a_gauge_of_1_may_be_a_message_until_a_message_was_sent()
    {
        Start(received: 10);
        HandOver(1);
        _instance = "second";
        Look(received: 0, sent: 0, queue: 1);
        Assert.Equal(Verdict.Nothing, Look(received: 0, sent: 0, queue: 1));
        Look(received: 0, sent: 1, queue: 1);
        Assert.Equal(IdSet.Of(11, 11), Look(received: 0, sent: 1, queue: 1).Returned);
    }

    [Fact]
    public void A_gauge_of_1_counts_as_a_message_when_the_instance_has_shown_0()
    {
        Start(received: 10);
        _instance = "second";
        Look(received: 0, sent: 1, queue: 0);
        HandOver(1);
        Look(received: 1, sent: 1, queue: 1);
        Assert.Equal(Verdict.Nothing, Look(received: 1, sent: 1, queue: 1));
        Assert.Equal(IdSet.Of(11, 11), _custody.HandedOver);
    }

    [Fact]
    public void The_custody_record_survives_a_restart_of_the_module()
    {
        Start(received: 10);
        HandOver(2);
        HandOver(1, "unrouted");
        Restart();
        Assert.Equal(IdSet.Of(11, 13), _custody.HandedOver);
        _unrouted["unrouted"] = 1;
        Assert.Equal(IdSet.Of(11, 12), Look(received: 13, sent: 12, queue: 0).Delivered);
        Restart();
        Assert.Equal(IdSet.Of(13, 13), _custody.Unrouted["unrouted"]);
    }

    [Fact]
    public void A_custody_record_of_another_edgeHub_instance_confirms_nothing()
    {
        Start(received: 10);
        HandOver(2);
        Restart();
        _instance = "second";
        Assert.Equal(Verdict.Nothing, Look(received: 2, sent: 2, queue: 0));
        Assert.Equal(IdSet.Of(11, 12), Look(received: 2, sent: 2, queue: 0).Returned);
    }

    [Theory]
    [InlineData("")]
    [InlineData("custody\t1\tseen\tfirst\t0")]
    [InlineData("custody\t2\tseen\tfirst\t0\n")]
    [InlineData("custody\t1\tseen\tfirst\tx\n")]
    [InlineData("custody\t1\tseen\tfirst\t0\nhanded\tx\tlive\n")]
    [InlineData("custody\t1\tseen\tfirst\t0\nelse\t1\tlive\n")]
    public void Text_that_is_no_custody_record_is_rejected(string text) => Assert.Null(Custody.TryParse(text, default));

    [Fact]
    public void A_message_without_a_route_is_kept_until_a_message_of_the_same_output_arrives()
    {
        Start(received: 0);
        HandOver(2);
        HandOver(1, "backfill");
        _unrouted["backfill"] = 1;
        Assert.Equal(IdSet.Of(1, 2), Look(received: 3, sent: 2, queue: 0).Delivered);
        Assert.Equal("backfill", Assert.Single(_custody.Unrouted).Key);
        Assert.Equal(IdSet.Of(3, 3), _custody.Unrouted["backfill"]);
        Assert.True(_custody.HandedOver.IsEmpty);

        HandOver(1);
        Assert.Equal(IdSet.Empty, Look(received: 4, sent: 3, queue: 0).Returned);
        HandOver(1, "backfill");
        var verdict = Look(received: 5, sent: 4, queue: 0);
        Assert.Equal((IdSet.Of(5, 5), IdSet.Of(3, 3)), (verdict.Delivered, verdict.Returned));
        Assert.Empty(_custody.Unrouted);
    }

    [Fact]
    public void Messages_dropped_without_a_route_before_the_first_page_are_not_counted_as_ours()
    {
        _unrouted["live"] = 5;
        Look(received: 5, sent: 0, queue: 0);
        HandOver(1);
        Look(received: 6, sent: 1, queue: 0);
        Assert.Equal(IdSet.Of(1, 1), Look(received: 6, sent: 1, queue: 0).Returned);
        HandOver(1);
        Assert.Equal(IdSet.Of(2, 2), Look(received: 7, sent: 2, queue: 0).Delivered);

        Restart();
        _instance = "second";
        _unrouted.Clear();
        HandOver(1);
        Look(received: 1, sent: 1, queue: 0);
        Assert.Equal(IdSet.Of(3, 3), Look(received: 1, sent: 1, queue: 0).Returned);
    }

    [Fact]
    public void Sent_messages_of_any_module_end_the_hold()
    {
        Start(received: 30);
        HandOver(2);
        Look(received: 32, sent: 30, queue: 2);
        Look(received: 32, sent: 30, queue: 2);
        Assert.True(_custody.IsHolding);
        Look(received: 32, sent: 30, queue: 1);
        Assert.True(_custody.IsHolding);
        _sentByOthers = 1;
        Look(received: 32, sent: 30, queue: 2);
        Assert.False(_custody.IsHolding);
    }

    [Fact]
    public void A_long_queue_holds_readings_back_while_it_grows()
    {
        Start(received: 0);
        HandOver(600);
        Look(received: 600, sent: 50, queue: 501);
        Assert.True(_custody.IsHolding);
        Look(received: 600, sent: 80, queue: 550);
        Assert.True(_custody.IsHolding);
        Look(received: 600, sent: 90, queue: 510);
        Assert.False(_custody.IsHolding);
    }

    [Fact]
    public void The_page_is_read_every_minute_and_every_10_seconds_while_readings_are_unconfirmed()
    {
        Assert.Equal(_now, _custody.NextScrape);
        Start(received: 0);
        Assert.Equal(TimeSpan.FromSeconds(60), _custody.NextScrape - _now);
        HandOver(1);
        Look(received: 1, sent: 0, queue: 1);
        Assert.Equal(TimeSpan.FromSeconds(10), _custody.NextScrape - _now);
        Look(received: 1, sent: 1, queue: 0);
        Assert.Equal(TimeSpan.FromSeconds(60), _custody.NextScrape - _now);
    }

    [Fact]
    public void After_five_minutes_without_a_balance_sending_pauses_until_there_is_one()
    {
        Start(received: 0);
        for (var round = 1; round <= 29; round++)
        {
            HandOver(1);
            Look(received: round, sent: Math.Max(0, round - 1 - (round % 2)), queue: 1);
            Assert.False(_custody.IsPausing);
        }

        Look(received: 29, sent: 28, queue: 1);
        Assert.True(_custody.IsPausing);
        Assert.Equal(IdSet.Of(1, 29), Look(received: 29, sent: 29, queue: 0).Delivered);
        Assert.False(_custody.IsPausing);
    }

    [Fact]
    public void A_pause_without_a_balance_ends_after_a_minute_and_the_next_begins_five_minutes_later()
    {
        Start(received: 0);
        HandOver(1);
        _now += Custody.PauseAfter;
        for (var looks = 0; looks < 37; looks++)
        {
            _sentByOthers++;
            Look(received: 1, sent: 0, queue: 100);
            Assert.Equal(looks is < 6 or 36, _custody.IsPausing);
        }
    }

    [Fact]
    public void An_acknowledgement_counts_as_delivery_as_long_as_no_page_was_ever_read()
    {
        HandOver(2);
        Assert.Equal(IdSet.Of(1, 2), LookAtNothing().Delivered);
        Assert.False(_custody.ConfirmsCloud);
        Assert.Equal(TimeSpan.FromSeconds(60), _custody.NextScrape - _now);
        _custody.Sent("3", "live", IdSet.Of(3, 3));
        Assert.Equal(IdSet.Of(3, 3), _custody.Acknowledged("3", _now));

        Look(received: 3, sent: 3, queue: 0);
        Assert.True(_custody.ConfirmsCloud);
        _custody.Sent("4", "live", IdSet.Of(4, 4));
        Assert.True(_custody.Acknowledged("4", _now).IsEmpty);
    }

    [Fact]
    public void A_page_that_was_read_before_and_is_now_missing_confirms_nothing()
    {
        Start(received: 0);
        HandOver(2);
        Assert.Equal(Verdict.Nothing, LookAtNothing());
        Restart();
        _now += Custody.FallBackAfter;
        Assert.Equal(Verdict.Nothing, LookAtNothing());
        _now += Custody.FallBackAfter;
        Assert.Equal(Verdict.Nothing, LookAtNothing()); // edgeHub is stopped: it acknowledges nothing either
        Assert.True(_custody.ConfirmsCloud);
        Assert.Equal(IdSet.Of(1, 2), Look(received: 2, sent: 2, queue: 0).Delivered);
    }

    [Fact]
    public void After_an_hour_without_the_page_an_acknowledgement_counts_as_delivery_again()
    {
        Start(received: 0);
        HandOver(1);
        LookAtNothing();
        _now += Custody.FallBackAfter;
        HandOver(1);
        Assert.Equal(new(IdSet.Empty, IdSet.Of(1, 2), Lost: 0), LookAtNothing());
        Assert.False(_custody.ConfirmsCloud);
        _custody.Sent("3", "live", IdSet.Of(3, 3));
        Assert.Equal(IdSet.Of(3, 3), _custody.Acknowledged("3", _now));
    }

    // Leads to a known base, with none of our messages in edgeHub's store.
    void Start(int received)
    {
        Look(received: 0, sent: 0, queue: 0);
        Look(received: 0, sent: 0, queue: 0);
        HandOver(received);
        Look(received, sent: received, queue: 0);
    }

    // Hands over messages with one reading each and consecutive ids.
    void HandOver(int messages, string output = "live")
    {
        for (var i = 0; i < messages; i++)
        {
            _messages++;
            _custody.Sent($"{_messages}", output, IdSet.Of(_messages, _messages));
            _custody.Acknowledged($"{_messages}", _now);
        }
    }

    Verdict Look(int received, int sent, int queue)
    {
        _custody.ScrapeRequested(isConnected: true);
        _now += Custody.IdleTime;
        return _custody.Scraped(Page(received, sent, queue), _now);
    }

    Verdict LookAtNothing()
    {
        _custody.ScrapeRequested(isConnected: true);
        _now += Custody.IdleTime;
        return _custody.Scraped(null, _now);
    }

    MetricsPage Page(int received, int sent, int queue) =>
        new(_instance, received, sent, new Dictionary<string, long>(_unrouted),
            new Dictionary<string, long> { ["0"] = sent + _sentByOthers },
            new Dictionary<string, long> { ["0"] = queue });

    void Restart() => _custody = Custody.TryParse(_custody.ToString(), _now)!;

    static int Weight(Step step) => step switch
    {
        Step.Publish or Step.Scrape => 12,
        Step.Send or Step.SendAll or Step.ScrapeTorn => 6,
        Step.RestartHub or Step.RestartModule or Step.ChangeRoute => 1,
        _ => 2,
    };
}
