using Microsoft.Extensions.Time.Testing;
using MQTTnet;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The queue of senders in front of the connection, and the messages in flight.</summary>
public sealed class GateTests
{
    readonly FakeTimeProvider _clock = new();
    readonly SendGate _gate = new();

    MqttSession NewSession() => new(new MqttClientFactory().CreateMqttClient(), HubTransport.Mqtt, _clock);

    [Fact]
    public async Task Without_a_connection_senders_are_turned_away_at_once()
    {
        Assert.Null(await _gate.EnterAsync(1, CancellationToken.None));
        _gate.Open(NewSession());
        Assert.NotNull(await _gate.EnterAsync(1, CancellationToken.None));
        _gate.Close();
        Assert.Null(await _gate.EnterAsync(1, CancellationToken.None));
    }

    [Fact]
    public async Task During_a_renewal_senders_wait_and_are_admitted_one_at_a_time_in_order()
    {
        _gate.Pause();
        using var impatient = new CancellationTokenSource();
        var waiting = Enumerable.Range(0, 5).Select(i => _gate.EnterAsync(i, i == 2 ? impatient.Token : CancellationToken.None).AsTask()).ToList();
        Assert.DoesNotContain(waiting, task => task.IsCompleted);
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting[2]);

        var session = NewSession();
        _gate.Open(session);
        foreach (var i in (int[])[0, 1, 3, 4])
        {
            var flight = await waiting[i];
            Assert.Equal((i, true), (flight!.Bytes, flight.FromLine));

            // The next sender is admitted when this one has handed its message over; a new sender is last in line.
            Assert.DoesNotContain(waiting.Skip(i + 1).Where((_, later) => later + i + 1 != 2), task => task.IsCompleted);
            if (i == 0) waiting.Add(_gate.EnterAsync(5, CancellationToken.None).AsTask());
            _gate.Passed();
        }

        Assert.Equal(5, (await waiting[5])!.Bytes);
    }

    [Fact]
    public async Task A_failed_renewal_turns_the_waiting_senders_away()
    {
        _gate.Pause();
        var waiting = _gate.EnterAsync(1, CancellationToken.None).AsTask();
        _gate.Close();
        Assert.Null(await waiting);
    }

    [Fact]
    public async Task A_finished_connection_admits_no_sender_and_releases_the_waiting_ones()
    {
        _gate.Pause();
        var waiting = Enumerable.Range(0, 3).Select(i => _gate.EnterAsync(i, CancellationToken.None).AsTask()).ToList();
        var session = NewSession();
        session.Finish(new("over"));
        _gate.Open(session);
        Assert.All(await Task.WhenAll(waiting), Assert.Null);
        Assert.Null(await _gate.EnterAsync(1, CancellationToken.None));
    }

    [Fact]
    public async Task The_acknowledgement_timeout_of_a_large_message_allows_for_a_slow_line()
    {
        var session = NewSession();
        var watching = session.WatchAsync();
        var flight = session.Begin(245_760, fromLine: false)!; // one minute at 4 KB/s
        while (_clock.GetUtcNow() < _clock.Start + TimeSpan.FromSeconds(119))
        {
            Assert.Null(session.End);
            _clock.Advance(TimeSpan.FromSeconds(1));
        }

        await Until.True(() => session.End is not null, _clock, TimeSpan.FromSeconds(1));
        Assert.True(flight.Overdue);
        await watching;
        session.Dispose();
    }

    [Fact]
    public async Task Draining_ends_with_the_last_message_at_the_timeout_or_when_the_connection_ends()
    {
        var session = NewSession();
        var flight = session.Begin(1, fromLine: false)!;
        var draining = session.DrainAsync(TimeSpan.FromHours(1));
        Assert.False(draining.IsCompleted);
        session.Done(flight, acknowledged: true);
        await draining;

        session.Begin(1, fromLine: false);
        draining = session.DrainAsync(TimeSpan.FromMinutes(1));
        await Until.True(() => draining.IsCompleted, _clock, TimeSpan.FromSeconds(10));

        draining = session.DrainAsync(TimeSpan.FromHours(1));
        session.Finish(new("over"));
        await draining;
        await session.CloseAsync();
    }
}
