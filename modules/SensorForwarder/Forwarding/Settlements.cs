using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>Changes the state of sent readings in the buffer: handed over, delivered, waiting again, dead letter. The
/// next batch does not wait for the commit of these changes. Used by the forwarder's loop only.</summary>
internal sealed class Settlements(TelemetryBuffer buffer, WaitingReadings waiting, ILogger logger)
{
    /// <summary>Completes when all changes so far have completed. Never fails.</summary>
    public Task Settling { get; private set; } = Task.CompletedTask;

    /// <summary>Readings delivered since the start.</summary>
    public long Delivered { get; private set; }

    /// <summary>The receiver accepted these readings of a batch.</summary>
    /// <param name="handovers">Null: accepted readings are delivered.</param>
    public void Accepted(Batch batch, IReadOnlyList<BufferedReading> readings, Handovers? handovers)
    {
        var ids = readings.Count == batch.Readings.Count
            ? batch.Ids
            : IdSet.Of(readings.Select(reading => reading.Id));
        if (handovers?.IsDelivered(batch) == false)
        {
            Note(buffer.HandOverAsync(ids, CancellationToken.None));
            waiting.HandOver(batch);
        }
        else
        {
            Note(buffer.AcknowledgeAsync(ids, CancellationToken.None));
            Delivered += readings.Count;
        }
    }

    /// <summary>Carries out a verdict on handed-over readings.</summary>
    public void Judged(Verdict verdict)
    {
        if (verdict.Delivered.IsEmpty && verdict.Returned.IsEmpty) return;
        waiting.EndHandover(verdict.Delivered, verdict.Returned);
        Delivered += verdict.Delivered.Count;
        if (!verdict.Delivered.IsEmpty) Note(buffer.AcknowledgeAsync(verdict.Delivered, CancellationToken.None));
        Return(verdict.Returned);
    }

    /// <summary>Changes readings from handed over to waiting.</summary>
    public void Return(IdSet ids)
    {
        if (!ids.IsEmpty) Note(buffer.GiveBackAsync(ids, CancellationToken.None));
    }

    /// <summary>Makes a rejected reading a dead letter.</summary>
    public void DeadLetter(BufferedReading reading, string sink, string reason, string answer)
    {
        ForwardingLog.DeadLettered(logger, reading.Id, sink, answer);
        var moving = buffer.DeadLetterAsync(reading.Id, reason, answer, CancellationToken.None);
        waiting.DeadLetter(reading.Id, moving);
        Note(moving);
    }

    /// <summary>Adds a change to <see cref="Settling"/>, and logs its failure.</summary>
    public void Note(Task change)
    {
        var before = Settling;
        Settling = ObserveAsync();

        async Task ObserveAsync()
        {
            try
            {
                await change;
            }
            catch (Exception exception)
            {
                ForwardingLog.AcknowledgeFailed(logger, exception);
            }

            await before;
        }
    }
}
