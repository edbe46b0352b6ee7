using CsCheck;
using SensorForwarder.EdgeHub.Upstream;

namespace SensorForwarder.Tests.EdgeHub;

public sealed class MetricsPageTests
{
    const string Client = "d/forwarder";

    const string Text = """
        # TYPE edgehub_messages_received_total counter
        edgehub_messages_received_total{iothub="h",instance_number="a",route_output="live",id="d/forwarder"} 7
        edgehub_messages_received_total{iothub="h",instance_number="a",route_output="backfill",id="d/forwarder"} 3
        edgehub_messages_received_total{iothub="h",instance_number="a",route_output="live",id="d/other"} 50
        edgehub_messages_sent_total{instance_number="a",from="d/forwarder",to="upstream",priority="0"} 5
        edgehub_messages_sent_total{instance_number="a",from="d/forwarder",to="d/other",from_route_output="live"} 90
        edgehub_messages_sent_total{instance_number="a",from="d/other",to="upstream",priority="2"} 40
        edgehub_messages_dropped_total{instance_number="a",from="d/forwarder",reason="no_route",from_route_output="b"} 2
        edgehub_messages_dropped_total{instance_number="a",reason="ttl_expiry",from="d/forwarder"} 8
        edgehub_messages_dropped_total{instance_number="a",reason="no_route",from="d/other",from_route_output="b"} 9
        edgehub_queue_length{instance_number="a",endpoint="iothub",priority="0"} 1
        edgehub_queue_length{instance_number="a",endpoint="iothub",priority="2"} 4
        edgehub_queue_length{instance_number="a",endpoint="d/other/in",priority="0"} 99
        """;

    [Fact]
    public void The_page_is_reduced_to_the_counters_of_our_module()
    {
        var page = MetricsPage.TryParse(Text, Client)!;
        Assert.Equal(("a", 10, 5, 45, 5), (page.Instance, page.Received, page.Sent, page.AllSent, page.Queue));
        Assert.Equal(new("b", 2), Assert.Single(page.Unrouted));
        Assert.Equal(3, page.Missing);
    }

    [Fact]
    public void Queued_messages_have_left_once_more_messages_than_queued_were_sent_at_each_priority()
    {
        var page = MetricsPage.TryParse(Text, Client)!; // queues of 1 and 4
        bool Sends(long first, long second) => (page with
        {
            SentByAll = new Dictionary<string, long> { ["0"] = 5 + first, ["2"] = 40 + second },
        }).HasSentQueueOf(page);

        Assert.True(Sends(2, 5));
        Assert.False(Sends(1, 5));
        Assert.False(Sends(100, 4));
        Assert.False(page.HasSentQueueOf(page with { Queues = new Dictionary<string, long>() }));
    }

    [Fact]
    public void A_missing_metric_counts_as_zero()
    {
        var page = MetricsPage.TryParse("edgehub_offline_count_total{instance_number=\"a\"} 1", Client)!;
        Assert.Equal(("a", 0, 0, 0, null), (page.Instance, page.Received, page.Sent, page.AllSent, page.Queue));
        Assert.Empty(page.Unrouted);
    }

    [Theory]
    [InlineData("")]
    [InlineData("<html>nothing to see</html>")]
    [InlineData("edgeAgent_total{instance_number=\"a\"} 1")]
    [InlineData("edgehub_queue_length{endpoint=\"iothub\"} 1")]
    public void Text_without_edgeHub_counters_is_not_a_page(string text) => Assert.Null(MetricsPage.TryParse(text, Client));

    [Fact]
    public void A_label_value_may_contain_escaped_characters()
    {
        const string Labels = "a=\"from=\\\"d/forwarder\\\",x\",from=\"y\"";
        Assert.Equal("y", PrometheusPage.Label(Labels, "from"));
        Assert.Equal("from=\\\"d/forwarder\\\",x", PrometheusPage.Label(Labels, "a"));
        Assert.Null(PrometheusPage.Label(Labels, "x"));
    }

    [Fact]
    public void Random_text_in_a_page_does_not_make_the_parser_throw() => Gen.Select(Gen.Int[0, Text.Length], Gen.String).Sample(
        (at, garbage) => MetricsPage.TryParse(Text.Insert(at, garbage), Client));
}
