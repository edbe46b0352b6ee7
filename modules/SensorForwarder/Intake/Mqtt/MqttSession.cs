using System.Buffers;
using System.Threading.Channels;
using MQTTnet;
using MQTTnet.Protocol;
using SensorForwarder.EdgeHub;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>
/// The messages of one connection: each is stored, and acknowledged when it is on the medium, in the order in which
/// they came. While the buffer refuses nothing is acknowledged, so the broker keeps what follows.
/// </summary>
/// <param name="subscription">What is taken.</param>
/// <param name="store">Where it is stored.</param>
/// <param name="source">What counts it.</param>
/// <param name="room">Memory that all connections share.</param>
/// <param name="lastSeen">The last payload of each topic.</param>
/// <param name="alarms">Those of its sensors; null: there are none.</param>
/// <param name="timeProvider">The clock.</param>
internal sealed class MqttSession(
    MqttSubscription subscription, IntakeStore store, IntakeSource source, BodyRoom room, LastPayloads lastSeen,
    PushedAlarms? alarms, TimeProvider timeProvider) : IDisposable
{
    /// <summary>How long what is being stored may take when the connection is no longer wanted.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(0.5);

    static readonly TimeSpan GoodbyeTimeout = TimeSpan.FromSeconds(0.5);

    // A broker that waits for acknowledgements sends 10 or 20 messages before the first. From so many on a commit is
    // not delayed to share it with what follows.
    const int HurryFrom = 8;

    // A message that comes so soon after an acknowledgement was held back by the broker until then, as with Mosquitto's
    // max_inflight_messages 1. Such messages can't share commits, and would queue up if each waited for its commit.
    static readonly TimeSpan HeldBack = TimeSpan.FromMilliseconds(20);

    // Of a broker that does not wait, and of messages that need no acknowledgement.
    const int MaxWaiting = 2_000;

    // Payloads of a batch as they will be stored, a few transactions of the buffer. JSON grows when its keys are
    // joined, and lists when each item becomes a reading.
    const int MaxBatchBytes = 1 << 20;

    readonly CancellationTokenSource _ended = new();

    // Not for a single reader: such a channel can't be counted.
    readonly Channel<MqttMessage> _waiting = Channel.CreateUnbounded<MqttMessage>();
    string? _end;
    volatile bool _isClosing;

    // When the last message was acknowledged; null: none was.
    long? _acknowledgedAt;

    // A commit is being waited for that was delayed.
    int _isLazy;

    /// <summary>It ends because more came than can be stored at once; what came before that is stored.</summary>
    public bool HasOverflowed { get; private set; }

    /// <summary>Attaches itself to a client that is not connected yet.</summary>
    public void Attach(IMqttClient client)
    {
        client.ApplicationMessageReceivedAsync += OnMessageAsync;
        client.DisconnectedAsync += end =>
        {
            // Before it was connected that is not what people want to know.
            var words = end.ReasonString is { } text ? $": {LogText.Clean(text)}" : "";
            var reason = end.Exception is { } exception
                ? NetworkText.Describe(exception)
                : $"the connection was closed ({end.Reason}{words})";
            if (end.ClientWasConnected) Finish(reason);
            return Task.CompletedTask;
        };
    }

    /// <summary>Stores and acknowledges until the connection ends, or is no longer wanted; then it is closed.</summary>
    /// <returns>Why it ended; null: it was not wanted.</returns>
    public async Task<string?> RunAsync(IMqttClient client, CancellationToken stop)
    {
        var working = Task.Run(WorkAsync, CancellationToken.None);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, _ended.Token);
        await Task.WhenAny(working, Task.Delay(Timeout.InfiniteTimeSpan, timeProvider, either.Token));
        if (working.Exception?.InnerException is { } exception) Finish(NetworkText.Describe(exception));
        _isClosing = true;
        _waiting.Writer.TryComplete();
        if (stop.IsCancellationRequested && !_ended.IsCancellationRequested)
        {
            // Readings that wait for a common commit are committed now, so that the broker need not send them again.
            _ = store.CommitAsync(_ended.Token);
            await working.WaitAsync(StopPatience, timeProvider, CancellationToken.None)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            try
            {
                await client.DisconnectAsync(new(), CancellationToken.None)
                    .WaitAsync(GoodbyeTimeout, timeProvider, CancellationToken.None);
            }
            catch (Exception)
            {
                // It is closed in any case.
            }
        }

        var end = Volatile.Read(ref _end);
        Finish("");
        await working.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        client.Dispose();
        return stop.IsCancellationRequested ? null : end ?? "the connection was closed";
    }

    /// <summary>Drops what was not stored. It was not acknowledged either, so the broker sends it again.</summary>
    public void Dispose()
    {
        _isClosing = true;
        _waiting.Writer.TryComplete();
        while (_waiting.Reader.TryRead(out var message)) room.Return(message.Bytes);
        _ended.Dispose();
    }

    void Finish(string reason)
    {
        Interlocked.CompareExchange(ref _end, reason, null);

        // On another thread: it is the client's own that tells, and whoever waits may close the client.
        _ = Task.Run(() =>
        {
            try
            {
                _ended.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // Nobody waits any more.
            }
        });
    }

    // MQTTnet calls it for one message after the other, and keeps those that follow in memory: it never waits.
    Task OnMessageAsync(MqttApplicationMessageReceivedEventArgs arrival)
    {
        arrival.AutoAcknowledge = false;
        if (_isClosing) return Task.CompletedTask;
        var message = arrival.ApplicationMessage;
        var isAwaited = message.QualityOfServiceLevel != MqttQualityOfServiceLevel.AtMostOnce;
        var bytes = BytesOf(message);
        var hasRoom = room.TryTake(bytes);
        if (!hasRoom || _waiting.Reader.Count >= MaxWaiting)
        {
            if (hasRoom) room.Return(bytes);
            if (isAwaited) Overflow();
            else source.Count(IntakeAnswer.Wait("messages with QoS 0 came faster than they can be stored"), 0);
            return Task.CompletedTask;
        }

        // MQTTnet does not use its memory again.
        var payload = message.Payload.IsSingleSegment ? message.Payload.First : message.Payload.ToArray();
        var arrived = new MqttMessage(
            message.Topic, payload, message.Retain, message.ContentType, timeProvider.GetUtcNow(),
            isAwaited ? arrival.AcknowledgeAsync : null)
        {
            ArrivedTimestamp = timeProvider.GetTimestamp(),
            Bytes = bytes,
        };
        if (!_waiting.Writer.TryWrite(arrived)) room.Return(bytes);
        if (_waiting.Reader.Count >= HurryFrom && Interlocked.Exchange(ref _isLazy, 0) == 1)
            _ = store.CommitAsync(_ended.Token);
        return Task.CompletedTask;
    }

    // All of it stays in memory until it is acknowledged, also what is not used here.
    static int BytesOf(MqttApplicationMessage message)
    {
        const int PerMessage = 500, PerProperty = 150;
        var texts = message.Topic.Length + (message.ContentType?.Length ?? 0) + (message.ResponseTopic?.Length ?? 0);
        var properties = message.UserProperties?.Sum(
            property => PerProperty + (sizeof(char) * property.Name.Length) + property.ValueBuffer.Length) ?? 0;
        return PerMessage + (int)message.Payload.Length + (sizeof(char) * texts) + properties
            + (message.CorrelationData?.Length ?? 0);
    }

    /// <summary>Takes no more messages of this connection. Those at hand are stored and acknowledged, so that each
    /// connection gets further; then it is closed, and the broker sends the others again.</summary>
    void Overflow()
    {
        const string Reason = "more messages came than can be stored at once; the broker will send them again";
        HasOverflowed = true;
        Interlocked.CompareExchange(ref _end, Reason, null);
        _isClosing = true;
        _waiting.Writer.TryComplete();
        source.Count(IntakeAnswer.Wait(Reason), 0);
    }

    async Task WorkAsync()
    {
        var batch = new List<Stored>();
        while (await _waiting.Reader.WaitToReadAsync(_ended.Token))
        {
            try
            {
                for (var bytes = 0; batch.Count < MaxWaiting && bytes < MaxBatchBytes
                    && _waiting.Reader.TryRead(out var message);)
                {
                    var item = new Stored(message);
                    item.Problem = Read(item, batch);
                    batch.Add(item);
                    bytes += Math.Max(message.Payload.Length, item.Payloads.Bytes);
                }

                await StoreAsync(batch, atOnce: batch.Count >= HurryFrom || _isClosing || batch.Any(WasHeldBack));
            }
            finally
            {
                await Task.WhenAll(batch.Select(item => (Task)item.Storing))
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                foreach (var item in batch)
                {
                    room.Return(item.Message.Bytes);
                    item.Payloads.Dispose();
                }

                batch.Clear();
            }
        }
    }

    async Task StoreAsync(List<Stored> batch, bool atOnce)
    {
        foreach (var item in batch)
        {
            if (item.Problem is null && item.Payloads.Count > 0) Begin(item, atOnce);
        }

        Volatile.Write(ref _isLazy, atOnce ? 0 : 1);
        if (!atOnce && _waiting.Reader.Count >= HurryFrom) await store.CommitAsync(_ended.Token);
        foreach (var item in batch)
        {
            var answer = item.Problem ?? await item.Storing;
            while (answer.RetryAfter is { } wait)
            {
                // Others were refused together with it, and have waited as long when it is their turn.
                var rest = wait - timeProvider.GetElapsedTime(item.BegunAt);
                if (rest > TimeSpan.Zero) await Task.Delay(rest, timeProvider, _ended.Token);
                Begin(item, atOnce: true);
                answer = await item.Storing;
            }

            if (answer.Outcome == IntakeOutcome.Stored)
            {
                lastSeen.Note(item.Message);
                if (alarms is not null) await WatchAsync(alarms, item);
            }

            if (item.Message.Acknowledge is not { } acknowledge) continue;
            await acknowledge(_ended.Token);
            _acknowledgedAt = timeProvider.GetTimestamp();
        }

        Volatile.Write(ref _isLazy, 0);
    }

    /// <summary>Reports the alarms that a message raises or clears. They are on the medium before it is acknowledged:
    /// after a kill the broker sends it again.</summary>
    async Task WatchAsync(PushedAlarms alarms, Stored item)
    {
        while (alarms.Observe(item.Payloads, item.Message) is var outcome and not AlarmOutcome.Unchanged)
        {
            if (outcome == AlarmOutcome.Reported)
            {
                await store.CommitAsync(_ended.Token);
                return;
            }

            await Task.Delay(IntakeAnswer.Later, timeProvider, _ended.Token);
        }
    }

    bool WasHeldBack(Stored item) => _acknowledgedAt is { } then && item.Message.ArrivedTimestamp >= then
        && timeProvider.GetElapsedTime(then, item.Message.ArrivedTimestamp) < HeldBack;

    void Begin(Stored item, bool atOnce)
    {
        item.BegunAt = timeProvider.GetTimestamp();
        item.Storing = store.StorePayloadsAsync(source, item.Payloads, item.Message.ArrivedAt, atOnce, _ended.Token);
    }

    /// <param name="item">What is read.</param>
    /// <param name="before">What came before it and is not stored yet. It is acknowledged earlier.</param>
    /// <returns>Why it can never be stored; null: it is to be stored, if it holds anything.</returns>
    IntakeAnswer? Read(Stored item, List<Stored> before)
    {
        if (item.Message.IsRetained && IsKnown(item.Message, before)) return null;
        var problem = subscription.Has(item.Message.Topic)
            ? MqttPayloads.Write(subscription, item.Message, item.Payloads)
            : IntakeAnswer.Malformed("its topic is not one of topics any more");

        // Nobody can be told, and it must not come again for ever: it is counted, and acknowledged.
        if (problem is not null || item.Payloads.Count == 0) source.Count(problem ?? IntakeAnswer.Stored, 0);
        return problem;
    }

    bool IsKnown(MqttMessage message, List<Stored> before) =>
        before.FindLast(item => item.Message.Topic == message.Topic) is { } last
            ? last.Message.Payload.Span.SequenceEqual(message.Payload.Span)
            : lastSeen.IsKnown(message);

    sealed class Stored(MqttMessage message)
    {
        public MqttMessage Message => message;

        public PayloadList Payloads { get; } =
            new(2 * Math.Min(message.Payload.Length, IntakeLimits.MaxPayloadBytes));

        public IntakeAnswer? Problem { get; set; }

        public Task<IntakeAnswer> Storing { get; set; } = Task.FromResult(IntakeAnswer.Stored);

        public long BegunAt { get; set; }
    }
}
