using System.Buffers;
using System.Threading.Channels;
using MQTTnet;
using MQTTnet.Protocol;
using SensorForwarder.EdgeHub;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>
/// Stores the messages of one connection, and acknowledges each when it is on the medium, in the order of arrival.
/// While the buffer refuses readings, no message is acknowledged, and the broker keeps later ones. MQTTnet's thread
/// queues messages; one loop stores them.
/// </summary>
/// <param name="source">Counts the messages.</param>
/// <param name="room">The memory limit of all connections together.</param>
/// <param name="alarms">The alarms of the sensor; null: none.</param>
internal sealed class MqttSession(
    MqttSubscription subscription, IntakeStore store, IntakeSource source, BodyRoom room, LastPayloads lastSeen,
    PushedAlarms? alarms, TimeProvider timeProvider) : IDisposable
{
    /// <summary>How long messages that are being stored may take when the session is stopped.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(0.5);

    static readonly TimeSpan GoodbyeTimeout = TimeSpan.FromSeconds(0.5);

    // If at least this many messages wait, they are committed at once: a broker that waits for acknowledgements sends
    // no more than 10 or 20 before the first one, so no more may arrive.
    const int HurryFrom = 8;

    // A message that arrives this soon after an acknowledgement was held back by the broker until then (Mosquitto with
    // max_inflight_messages 1). Such messages can't share a commit, so each is committed at once.
    static readonly TimeSpan HeldBack = TimeSpan.FromMilliseconds(20);

    // Reached if the broker does not wait for acknowledgements, or sends messages with QoS 0.
    const int MaxWaiting = 2_000;

    // The payloads of a batch as they will be stored: a few transactions of the buffer. Payloads grow when JSON keys
    // are joined, and when each item of a list becomes a reading.
    const int MaxBatchBytes = 1 << 20;

    readonly CancellationTokenSource _ended = new();

    // Not SingleReader: such a channel does not support Count.
    readonly Channel<MqttMessage> _waiting = Channel.CreateUnbounded<MqttMessage>();
    string? _end;
    volatile bool _isClosing;

    // Monotonic time of the last acknowledgement; null: none yet.
    long? _acknowledgedAt;

    // 1 while the loop waits for a commit that is delayed to be shared.
    int _isLazy;

    /// <summary>Whether the connection ends because more messages arrived than can be stored at once. Earlier messages
    /// are stored.</summary>
    public bool HasOverflowed { get; private set; }

    /// <summary>Attaches handlers to a client that is not connected yet.</summary>
    public void Attach(IMqttClient client)
    {
        client.ApplicationMessageReceivedAsync += OnMessageAsync;
        client.DisconnectedAsync += end =>
        {
            // A failure to connect is reported by MqttDialer.
            var words = end.ReasonString is { } text ? $": {LogText.Clean(text)}" : "";
            var reason = end.Exception is { } exception
                ? NetworkText.Describe(exception)
                : $"the connection was closed ({end.Reason}{words})";
            if (end.ClientWasConnected) Finish(reason);
            return Task.CompletedTask;
        };
    }

    /// <summary>Stores and acknowledges messages until the connection ends or <paramref name="stop"/> is cancelled.
    /// Closes the connection.</summary>
    /// <returns>Why the connection ended; null: it was stopped.</returns>
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
            // Readings that wait for a shared commit are committed now, so that the broker need not send them again.
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
                // The connection is closed in any case.
            }
        }

        var end = Volatile.Read(ref _end);
        Finish("");
        await working.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        client.Dispose();
        return stop.IsCancellationRequested ? null : end ?? "the connection was closed";
    }

    /// <summary>Drops messages that were not stored. They were not acknowledged either, so the broker sends them again.
    /// </summary>
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

        // On another thread: this one may be the client's own, and a callback of the token may close the client.
        _ = Task.Run(() =>
        {
            try
            {
                _ended.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // The session is already disposed.
            }
        });
    }

    // MQTTnet calls this for one message at a time, and queues later messages in memory without a limit. So it never
    // waits.
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
            else source.Count(IntakeAnswer.Wait("messages with QoS 0 arrived faster than they can be stored"), 0);
            return Task.CompletedTask;
        }

        // MQTTnet does not reuse the memory of a payload.
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

    // The whole message stays in memory until it is acknowledged, including properties that are not used here.
    static int BytesOf(MqttApplicationMessage message)
    {
        const int PerMessage = 500, PerProperty = 150;
        var texts = message.Topic.Length + (message.ContentType?.Length ?? 0) + (message.ResponseTopic?.Length ?? 0);
        var properties = message.UserProperties?.Sum(
            property => PerProperty + (sizeof(char) * property.Name.Length) + property.ValueBuffer.Length) ?? 0;
        return PerMessage + (int)message.Payload.Length + (sizeof(char) * texts) + properties
            + (message.CorrelationData?.Length ?? 0);
    }

    /// <summary>Accepts no more messages of this connection. Queued messages are stored and acknowledged, so that every
    /// connection makes progress; then it is closed, and the broker sends the others again.</summary>
    void Overflow()
    {
        const string Reason = "more messages arrived than can be stored at once; the broker sends them again";
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
                // Only the rest of the delay: messages that were refused together wait at the same time.
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

    /// <summary>Reports the alarms that a message raises or clears. The reports are committed before the message is
    /// acknowledged: after a kill, the broker sends it again.</summary>
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

    /// <summary>Converts a message to payloads.</summary>
    /// <param name="before">Earlier messages that are not stored yet.</param>
    /// <returns>Why the message can never be stored; null: it has valid payloads, or none.</returns>
    IntakeAnswer? Read(Stored item, List<Stored> before)
    {
        if (item.Message.IsRetained && IsKnown(item.Message, before)) return null;
        var problem = subscription.Has(item.Message.Topic)
            ? MqttPayloads.Write(subscription, item.Message, item.Payloads)
            : IntakeAnswer.Malformed("its topic is no longer one of the topics of the sensor");

        // The sender gets no answer, and the broker would repeat the message for ever: it is counted and acknowledged.
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
