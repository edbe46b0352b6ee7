using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Telling bad readings from a bad receiver: several days with a forwarder over a real buffer and a fake
/// clock.</summary>
public sealed class RefusalTests : IAsyncDisposable
{
    static readonly ForwardingSettings InTens = new() { BatchSize = 10, UploadInterval = TimeSpan.Zero };

    readonly BufferFixture _files = new(inMemory: true);
    readonly FakeTimeProvider _clock = new(BufferFixture.Noon);
    readonly LogLines _log = new();
    readonly FakeSink _receiver = new();
    TelemetryBuffer _buffer = null!;
    Forwarder _forwarder = null!;
    int _stored;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(nameof(DrainOrder.OldestFirst))]
    [InlineData(nameof(DrainOrder.LiveFirst))]
    public async Task A_receiver_that_rejects_everything_for_days_causes_one_dead_letter_an_hour_and_evicts_none(string order)
    {
        const int Hours = 72;
        var settings = InTens with { DrainOrder = Enum.Parse<DrainOrder>(order) };
        await StartAsync(maxDeadLetters: 100);
        await StoreAsync(500);
        _receiver.Rule = _ => new(SendOutcome.Rejected, "answered 400");
        for (var hour = 0; hour < Hours; hour++)
        {
            await LiveAsync(settings, TimeSpan.FromHours(1));
            await StoreAsync(1);
        }

        var status = _buffer.GetStatus();
        Assert.InRange(status.DeadLetters, Hours / 2, Hours + 6);
        Assert.Empty(status.Evicted);
        Assert.Equal(_stored, status.DeadLetters + status.Depth);
        Assert.Contains("dead-lettering one an hour until it accepts one", _forwarder.Status.LastError);
        Assert.True(_log.Has("answered 400"));

        // Nothing is stuck or missing when the receiver accepts readings again.
        _receiver.Rule = _ => SendResult.Accepted;
        var before = _receiver.Seen.Count;
        await LiveAsync(settings, TimeSpan.FromHours(1));
        Assert.Equal(0, _buffer.GetStatus().Depth);
        var letters = _buffer.ListDeadLetters(0, _stored).Select(letter => letter.Id);
        var arrived = _receiver.Seen.Skip(before).SelectMany(batch => batch.Readings).Select(reading => reading.Id);
        Assert.Equal(Enumerable.Range(1, _stored).Select(id => (long)id), arrived.Concat(letters).Order());
    }

    [Theory]
    [InlineData(nameof(DrainOrder.OldestFirst))]
    [InlineData(nameof(DrainOrder.LiveFirst))]
    public async Task A_long_run_of_rejected_readings_does_not_delay_the_good_ones_behind_it_for_long(string order)
    {
        const int Bad = 300;
        await StartAsync(maxDeadLetters: 10_000);
        _receiver.Rule = batch => batch.Readings.Any(IsBad) ? new(SendOutcome.Rejected, "answered 422") : SendResult.Accepted;
        await StoreAsync(Bad, sensor: "bad");
        await StoreAsync(200);
        await LiveAsync(InTens with { DrainOrder = Enum.Parse<DrainOrder>(order) }, TimeSpan.FromHours(1));
        Assert.Equal((0, Bad), (_buffer.GetStatus().Depth, _buffer.GetStatus().DeadLetters));
        Assert.All(_buffer.ListDeadLetters(0, 1_000), letter => Assert.InRange(letter.Id, 1, Bad));
        var good = _receiver.Seen.Where(batch => !batch.Readings.Any(IsBad)).SelectMany(batch => batch.Readings).Select(reading => reading.Id);
        Assert.Equal(Enumerable.Range(Bad + 1, 200).Select(id => (long)id), good.Order());
    }

    [Fact]
    public async Task A_rejected_reading_evicts_the_oldest_dead_letter_at_the_limit_and_the_queue_continues()
    {
        await StartAsync(maxDeadLetters: 3);
        _receiver.Rule = batch => batch.Readings.Any(IsBad) ? new(SendOutcome.Rejected, "answered 422") : SendResult.Accepted;
        for (var i = 0; i < 5; i++)
        {
            await StoreAsync(1, sensor: "bad");
            await StoreAsync(9);
        }

        await LiveAsync(InTens, TimeSpan.FromMinutes(1));
        var status = _buffer.GetStatus();
        Assert.Equal((0, 3), (status.Depth, status.DeadLetters));
        var evicted = Assert.Single(status.Evicted);
        Assert.Equal(("undeliverable", 2), (evicted.Reason, evicted.Count));
        Assert.True(_log.Has("The limit of 3 dead letters is reached"));
    }

    public async ValueTask DisposeAsync()
    {
        _forwarder.Dispose();
        await _buffer.DisposeAsync();
        _files.Dispose();
    }

    static bool IsBad(BufferedReading reading) => Encoding.UTF8.GetString(reading.Payload.Span).Contains("\"sensor\":\"bad\"", StringComparison.Ordinal);

    async Task StartAsync(int maxDeadLetters)
    {
        _buffer = await _files.OpenAsync(with: options => options with { MaxDeadLetters = maxDeadLetters }, logger: _log.For<TelemetryBuffer>());
        _forwarder = new(
            _buffer, new Dictionary<SinkKind, ISink> { [SinkKind.Http] = _receiver }, new BatchEncoder("pi", "module"), _clock,
            new Random(1), _log.For<Forwarder>());
    }

    async Task StoreAsync(int count, string sensor = "attic")
    {
        await Task.WhenAll(Enumerable.Range(_stored + 1, count).Select(n => _buffer.EnqueueAsync(BufferFixture.Reading(n, sensor), Token).AsTask()));
        _stored += count;
    }

    /// <summary>Steps the forwarder for a time, as its loop would.</summary>
    async Task LiveAsync(ForwardingSettings settings, TimeSpan time)
    {
        _forwarder.Apply(settings);
        var end = _clock.GetUtcNow() + time;
        while (true)
        {
            var wait = _forwarder.Step(CancellationToken.None);
            if (_forwarder.Settling is { IsCompleted: false } settling)
                await settling;
            else if (!_forwarder.IsAwake && _clock.GetUtcNow() >= end)
                return;
            else if (!_forwarder.IsAwake)
                _clock.Advance(wait is { } w && _clock.GetUtcNow() + w < end ? w : end - _clock.GetUtcNow());
        }
    }
}
