using System.Net;
using CsCheck;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>edgeHub acknowledges what it stores; its metrics page says whether that goes any further.</summary>
public sealed class UpstreamTests
{
    const string Page = """
        # TYPE edgehub_messages_sent_total counter
        edgehub_messages_sent_total{iothub="h",edge_device="d",from="d/SensorForwarder",to="upstream",from_route_output="live",priority="0"} 40
        edgehub_messages_sent_total{iothub="h",edge_device="d",from="d/other",to="upstream",from_route_output="o",priority="0"} 2 1732540000000
        edgehub_messages_sent_total{iothub="h",edge_device="d",from="d/other",to="d/third",from_route_output="o",priority="0"} 1000
        edgehub_queue_length{iothub="h",endpoint="iothub",priority="0"} 3
        edgehub_queue_length{iothub="h",endpoint="iothub",priority="2000000000"} 4
        edgehub_queue_length{iothub="h",endpoint="third/in",priority="0"} 99
        """;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void Series_are_summed_by_label()
    {
        Assert.Equal(7, PrometheusPage.Sum(Page, "edgehub_queue_length", "endpoint", "iothub"));
        Assert.Equal(42, PrometheusPage.Sum(Page, "edgehub_messages_sent_total", "to", "upstream"));
        Assert.Null(PrometheusPage.Sum(Page, "edgehub_queue", "endpoint", "iothub"));
        Assert.Null(PrometheusPage.Sum(Page, "edgehub_queue_length", "point", "iothub"));
        Assert.Null(PrometheusPage.Sum("edgehub_queue_length{endpoint=\"iothub\"} NaN", "edgehub_queue_length", "endpoint", "iothub"));
    }

    [Fact]
    public void A_page_of_anything_is_no_error() => Gen.Select(Gen.Int[0, Page.Length], Gen.String).Sample(
        (at, garbage) => PrometheusPage.Sum(Page.Insert(at, garbage), "edgehub_queue_length", "endpoint", "iothub"));

    [Fact]
    public void A_queue_that_stands_holds_and_one_that_moves_does_not()
    {
        var queue = new UpstreamQueue();
        bool Look(double? length, double? sent)
        {
            queue.Look(length, sent);
            return queue.IsHolding;
        }

        Assert.False(Look(5, 100));
        Assert.False(Look(9, 120)); // a burst on its way
        Assert.True(Look(12, 120)); // nothing left since
        Assert.True(Look(12, 120));
        Assert.True(Look(null, null)); // the page fails now and then
        Assert.True(Look(12, 120));
        Assert.False(Look(3, 129)); // it drains
        Assert.False(Look(0, 132));
        Assert.True(Look(501, 140)); // more than it gets rid of
        Assert.True(Look(400, 240));
        Assert.False(Look(200, 440));
        Assert.False(Look(2, 640));
        Assert.True(Look(2, 640));
        Look(null, null);
        Look(null, null);
        Assert.False(Look(null, null)); // gone for good: as without it
        Assert.False(Look(7, 0)); // edgeHub was restarted
        Assert.True(Look(7, 0));
        Assert.False(Look(0, 7));
    }

    [Fact]
    public async Task While_edgeHub_is_held_one_batch_a_minute_goes_and_a_flush_goes_through()
    {
        var hub = new FakeSink { Rule = _ => SendResult.Accepted, Window = 4 };
        await using var fixture = await ForwarderFixture.StartAsync(
            hub: hub, settings: new() { Sink = SinkKind.IotHub, BatchSize = 10, UploadInterval = TimeSpan.Zero });
        await fixture.RunAsync();
        await fixture.StoreAsync(10);
        await fixture.UntilDepthAsync(0);

        hub.IsHeld = true;
        await fixture.StoreAsync(200, from: 11);
        var began = fixture.Clock.GetUtcNow();
        await Until.True(() => hub.Seen.Count == 4, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.True(fixture.Clock.GetUtcNow() - began >= TimeSpan.FromMinutes(2), "three batches");
        Assert.NotNull(fixture.Forwarder.Status.UpstreamHeldSince);
        Assert.True(fixture.Buffer.GetStatus().Depth >= 170);
        Assert.True(await fixture.Forwarder.FlushAsync(TimeSpan.FromMinutes(1), Token));

        await fixture.StoreAsync(50, from: 211);
        hub.IsHeld = false;
        await Until.True(() => fixture.Buffer.GetStatus().Depth == 0, fixture.Clock, TimeSpan.FromSeconds(1));
        Assert.Null(fixture.Forwarder.Status.UpstreamHeldSince);
    }

    [Theory]
    [InlineData("right")]
    [InlineData("gone")]
    [InlineData("garbage")]
    [InlineData("encoding")]
    [InlineData("endless")]
    [InlineData("slow")]
    [InlineData("reset")]
    public async Task A_page_that_is_wrong_slow_or_huge_holds_nothing_and_harms_nothing(string how)
    {
        var looks = 0;
        await using var page = await StartPageAsync(async context =>
        {
            Interlocked.Increment(ref looks);
            await AnswerAsync(context, how);
        });
        var clock = new FakeTimeProvider();
        var log = new LogLines();
        using var watch = new UpstreamWatch(new(new Uri($"{page.Urls.First()}/metrics")), clock, log.For<UpstreamWatch>());
        await watch.StartAsync(Token);
        await Until.True(() => Volatile.Read(ref looks) >= 4, clock, TimeSpan.FromSeconds(1));
        // A look that is late on a busy machine is none.
        if (how == "right") await Until.True(() => watch.IsHolding, clock, TimeSpan.FromSeconds(1));
        else Assert.False(watch.IsHolding);
        await watch.StopAsync(Token);
        Assert.True(watch.ExecuteTask!.IsCompletedSuccessfully);
        LogLine.Check(log.All);
    }

    [Fact]
    public async Task A_stop_during_a_look_says_nothing_of_the_page()
    {
        var asked = new TaskCompletionSource();
        await using var page = await StartPageAsync(async context =>
        {
            asked.TrySetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted);
        });
        var log = new LogLines();
        using var watch = new UpstreamWatch(
            new(new Uri($"{page.Urls.First()}/metrics")), new FakeTimeProvider(), log.For<UpstreamWatch>());
        await watch.StartAsync(Token);
        await asked.Task.WaitAsync(Until.Limit, TimeProvider.System, Token);
        await watch.StopAsync(Token);
        Assert.True(watch.ExecuteTask!.IsCompletedSuccessfully);
        Assert.Empty(log.All);
    }

    static async Task AnswerAsync(HttpContext context, string how)
    {
        context.Response.ContentType = how == "encoding" ? "text/plain; charset=klingon" : "text/plain";
        switch (how)
        {
            case "right":
                await context.Response.WriteAsync(Page, Token);
                break;
            case "gone":
                context.Response.StatusCode = 404;
                break;
            case "garbage":
                await context.Response.Body.WriteAsync(new byte[] { 0xff, 0x7b, 0x00, 0x7d, 0x0a }, Token);
                break;
            case "encoding":
                await context.Response.WriteAsync(Page, Token);
                break;
            case "endless":
                var piece = new byte[1 << 20];
                for (var i = 0; i < 64; i++) await context.Response.Body.WriteAsync(piece, context.RequestAborted);
                break;
            case "slow":
                await context.Response.WriteAsync("edgehub_", Token);
                await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                break;
            default:
                context.Abort();
                break;
        }
    }

    static async Task<WebApplication> StartPageAsync(RequestDelegate answer)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        var app = builder.Build();
        app.Run(answer);
        await app.StartAsync(Token);
        return app;
    }
}
