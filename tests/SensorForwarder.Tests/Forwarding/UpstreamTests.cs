using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>edgeHub acknowledges what it stores; its metrics page shows whether it reaches the cloud.</summary>
public sealed class UpstreamTests
{
    const string Page = """
        edgehub_messages_received_total{id="d/SensorForwarder",route_output="live",instance_number="1"} 43
        edgehub_messages_sent_total{from="d/SensorForwarder",to="upstream",from_route_output="live",priority="0",instance_number="1"} 40
        edgehub_queue_length{endpoint="iothub",priority="0",instance_number="1"} 3
        """;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task While_edgeHub_has_no_cloud_the_forwarder_sends_one_batch_a_minute_and_a_flush_does_not_wait()
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
        Assert.True(fixture.Clock.GetUtcNow() - began >= TimeSpan.FromMinutes(2), "three batches in less than two minutes");
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
    public async Task A_metrics_page_that_is_invalid_slow_or_too_large_is_ignored(string how)
    {
        await using var page = await StartPageAsync(context => AnswerAsync(context, how));
        var clock = new FakeTimeProvider();
        using var reader = new MetricsPageReader(new Uri($"{page.Urls.First()}/metrics"), "d/SensorForwarder", clock);
        for (var i = 0; i < 3; i++)
        {
            var looking = reader.ReadAsync(Token);
            if (how == "slow") await Until.True(() => looking.IsCompleted, clock, TimeSpan.FromSeconds(1));
            var seen = await looking;
            Assert.Equal(how == "right" ? 43 : null, seen?.Received);
        }
    }

    [Fact]
    public async Task A_stop_while_the_metrics_page_is_read_logs_nothing_about_the_page()
    {
        var asked = new TaskCompletionSource();
        await using var page = await StartPageAsync(async context =>
        {
            asked.TrySetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted);
        });
        var log = new LogLines();
        using var reader = new MetricsPageReader(new Uri($"{page.Urls.First()}/metrics"), "d/m", new FakeTimeProvider());
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var handovers = new Handovers("m", reader.Place, reader.ReadAsync, new FakeTimeProvider(), log.For<Handovers>());
        var ended = new TaskCompletionSource();
        handovers.Step(isCurrent: true, isConnected: true, ended.SetResult, stop.Token);
        await asked.Task.WaitAsync(Until.Limit, TimeProvider.System, Token);
        await stop.CancelAsync();
        await ended.Task.WaitAsync(Until.Limit, TimeProvider.System, Token);
        handovers.Step(isCurrent: true, isConnected: true, static () => { }, stop.Token);
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
