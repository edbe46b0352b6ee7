using System.IO.Compression;
using System.Net;
using System.Text;
using EdgeSimulator.Accounting;
using EdgeSimulator.Faults;
using EdgeSimulator.Http;

namespace SensorForwarder.Tests.Simulator;

public sealed class TelemetryEndpointTests : IAsyncLifetime
{
    readonly Ledger _ledger = new(TimeProvider.System);
    readonly FaultSwitches _faults = new();
    readonly TelemetryEndpoint _endpoint;
    readonly HttpClient _client = new();

    public TelemetryEndpointTests()
    {
        _endpoint = new TelemetryEndpoint(_ledger, new RecentMessages(TimeProvider.System), _faults, TimeProvider.System);
    }

    public async ValueTask InitializeAsync() => await _endpoint.StartAsync(TestContext.Current.CancellationToken);

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _endpoint.DisposeAsync();
    }

    [Fact]
    public async Task Batch_is_counted_and_answered_with_200()
    {
        Assert.Equal(HttpStatusCode.OK, (await PostAsync(SimulatedHub.Batch(1, 5))).StatusCode);

        Assert.Equal(5, _ledger.Summary().Unique);
    }

    [Fact]
    public async Task Gzip_batch_is_decompressed()
    {
        using var packed = new MemoryStream();
        await using (var gzip = new GZipStream(packed, CompressionMode.Compress, leaveOpen: true))
        {
            await gzip.WriteAsync(Encoding.UTF8.GetBytes(SimulatedHub.Batch(1, 5)), TestContext.Current.CancellationToken);
        }

        using var content = new ByteArrayContent(packed.ToArray());
        content.Headers.ContentEncoding.Add("gzip");

        Assert.Equal(HttpStatusCode.OK, (await PostAsync(content)).StatusCode);
        Assert.Equal(5, _ledger.Summary().Unique);
    }

    [Theory]
    [InlineData("nonsense", "", 400)]
    [InlineData("{}", "", 400)]
    [InlineData("{}", "gzip", 400)]
    [InlineData("{}", "br", 415)]
    public async Task Body_that_is_no_batch_is_refused(string body, string encoding, int status)
    {
        using var content = new StringContent(body);
        if (encoding.Length > 0)
        {
            content.Headers.ContentEncoding.Add(encoding);
        }

        Assert.Equal(status, (int)(await PostAsync(content)).StatusCode);
    }

    [Fact]
    public async Task Commanded_status_is_sent_with_Retry_After_and_the_batch_is_not_counted()
    {
        _faults.Update(f => f with { HttpStatus = 503, HttpRetryAfterSeconds = 7 });

        var answer = await PostAsync(SimulatedHub.Batch(1, 5));

        Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
        Assert.Equal(TimeSpan.FromSeconds(7), answer.Headers.RetryAfter?.Delta);
        Assert.Equal(0, _ledger.Summary().Received);
    }

    [Fact]
    public async Task Blackout_refuses_requests_and_explains_the_duplicates_after_it()
    {
        await PostAsync(SimulatedHub.Batch(1, 5));

        _faults.Update(f => f with { Blackout = true });
        await Assert.ThrowsAsync<HttpRequestException>(() => PostAsync(SimulatedHub.Batch(1, 5)));

        _faults.Update(f => f with { Blackout = false });
        Assert.Equal(HttpStatusCode.OK, (await PostAsync(SimulatedHub.Batch(1, 5))).StatusCode);
        Assert.Equal((5, 5), (_ledger.Summary().Duplicates, _ledger.Summary().DuplicatesExplained));
    }

    [Fact]
    public async Task Request_in_flight_is_cut_by_a_blackout()
    {
        _faults.Update(f => f with { LatencyMilliseconds = 600_000 });
        var request = PostAsync(SimulatedHub.Batch(1, 5));
        while (_ledger.Summary().Received == 0)
        {
            await Task.Yield();
        }

        _faults.Update(f => f with { Blackout = true });

        await Assert.ThrowsAsync<HttpRequestException>(() => request);
    }

    async Task<HttpResponseMessage> PostAsync(string body)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/json");
        return await PostAsync(content);
    }

    Task<HttpResponseMessage> PostAsync(HttpContent content) =>
        _client.PostAsync(new Uri(_endpoint.Url), content, TestContext.Current.CancellationToken);
}
