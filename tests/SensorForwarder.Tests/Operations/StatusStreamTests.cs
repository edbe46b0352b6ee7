using System.IO.Pipelines;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Operations.Web;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

/// <summary>The stream of a page that reads for a while, and then stops reading.</summary>
public sealed class StatusStreamTests
{
    sealed class Connection : IHttpRequestLifetimeFeature, IDisposable
    {
        readonly CancellationTokenSource _aborted = new();

        public CancellationToken RequestAborted
        {
            get => _aborted.Token;
            set => throw new NotSupportedException();
        }

        public void Abort() => _aborted.Cancel();

        public void Dispose() => _aborted.Dispose();
    }

    [Fact]
    public async Task A_page_that_stops_reading_is_disconnected()
    {
        await using var parts = await new SettingsFixture().StartAsync();
        var clock = new FakeTimeProvider(BufferFixture.Noon);
        using var operations = new OperationParts(parts, clock);
        using var connection = new Connection();
        var pipe = new Pipe();
        var context = new DefaultHttpContext();
        context.Features.Set<IHttpRequestLifetimeFeature>(connection);
        context.Response.Body = pipe.Writer.AsStream();
        var serving = new StatusStream(operations.Page, clock).TryServeAsync(context, CancellationToken.None);

        // Far more than the buffers hold.
        var bytes = 0L;
        await Until.True(Read, clock, TimeSpan.FromSeconds(1));
        Assert.False(connection.RequestAborted.IsCancellationRequested);

        // The page disconnects.
        await Until.True(() => serving.IsCompleted, clock, TimeSpan.FromSeconds(1));
        Assert.True(connection.RequestAborted.IsCancellationRequested);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => serving);

        bool Read()
        {
            while (pipe.Reader.TryRead(out var result))
            {
                bytes += result.Buffer.Length;
                pipe.Reader.AdvanceTo(result.Buffer.End);
            }

            return bytes > 200_000;
        }
    }
}
