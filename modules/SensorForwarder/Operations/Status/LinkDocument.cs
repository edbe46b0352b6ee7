using System.Diagnostics;
using SensorForwarder.Forwarding;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Status;

/// <summary>The link to the receiver, as JSON for the status and the page: its state and since when, who holds the
/// readings that count as delivered, and the last error.</summary>
internal record LinkDocument(
    string State, DateTime Since, string Custody, long Delivered, StuckBatchDocument? StuckBatch, string? LastError,
    DateTime? LastErrorAt)
{
    public static LinkDocument Of(ModuleStatus status) => new(
        status.Link.ToString(), status.LinkSince.UtcDateTime,
        status.Forwarding.Custody.Holder switch
        {
            CustodyHolder.Receiver => "receiver",
            CustodyHolder.EdgeHub => "edgeHub",
            CustodyHolder.Cloud => "cloud",
            _ => throw new UnreachableException(),
        },
        status.Forwarding.Delivered, StuckBatchDocument.Of(status),
        LogText.Clean(status.LastFailure?.Reason),
        status.LastFailure?.At.Time(status.Clock).UtcDateTime);
}

internal sealed record StuckBatchDocument(string Id, string Answer, DateTime Since, int Attempts)
{
    public static StuckBatchDocument? Of(ModuleStatus status) => status.Forwarding.Stuck is not { } stuck ? null : new(
        stuck.Batch, LogText.Clean(stuck.Answer), stuck.Since.Time(status.Clock).UtcDateTime, stuck.Attempts);
}

/// <summary>The lanes, as JSON.</summary>
/// <param name="Alarm">Null: there was no alarm since the start.</param>
internal sealed record LanesDocument(LaneDocument Live, LaneDocument Backfill, LaneDocument? Alarm)
{
    public static LanesDocument Of(ModuleStatus status)
    {
        var (forwarding, clock) = (status.Forwarding, status.Clock);
        return new(
            Lane(
                forwarding.Live, status.OldestAges.Value.Live,
                forwarding.Batches - forwarding.BackfillBatches - forwarding.AlarmBatches),
            Lane(forwarding.Backfill, status.OldestAges.Value.Backfill, forwarding.BackfillBatches),
            forwarding.AlarmBatches == 0 && forwarding.Alarm is { Waiting: 0, InFlightBatches: 0 }
                ? null
                : Lane(forwarding.Alarm, status.OldestAges.Value.Alarm, forwarding.AlarmBatches));

        // The lane may still count readings that the buffer has evicted meanwhile.
        LaneDocument Lane(LaneStatus lane, TimeSpan? age, long batches) => new(
            Math.Min(lane.Waiting, status.Buffer.Depth), age is { } oldest ? Math.Round(oldest.TotalSeconds, 1) : null,
            lane.InFlightBatches, lane.InFlightReadings, batches, lane.LastAccepted?.Time(clock).UtcDateTime);
    }
}

internal sealed record LaneDocument(
    long Waiting, double? OldestAgeSeconds, int InFlightBatches, int InFlightReadings, long BatchesAccepted,
    DateTime? LastAccepted);

/// <summary>The daily quota, and what it holds back, as JSON.</summary>
internal sealed record QuotaDocument(
    long MessagesToday, int DailyMessageLimit, DateTime? HeldBackUntil, bool? IsOnlyBacklogHeldBack)
{
    public static QuotaDocument? Of(ModuleStatus status)
    {
        var forwarding = status.Forwarding;
        if (forwarding.DailyMessageLimit == 0) return null;

        // A time in the past holds nothing back: the forwarder has not run since then.
        var until = forwarding.HeldBackUntil > status.Clock.GetUtcNow() ? forwarding.HeldBackUntil : null;
        return new(
            forwarding.MessagesToday, forwarding.DailyMessageLimit, until?.UtcDateTime,
            until is null ? null : forwarding.IsOnlyBacklogHeldBack);
    }
}

/// <summary>What edgeHub has queued, and since when readings are held back because it has no connection to the cloud,
/// as JSON. All but the first two properties need its metrics page.</summary>
internal sealed record UpstreamDocument(
    DateTime? HeldSince, long? Messages, long? HandedOver, DateTime? HandedOverSince, long? LostMessages,
    long? ReturnedReadings, string? OutputsWithoutRoute)
{
    public static UpstreamDocument? Of(ModuleStatus status)
    {
        var custody = status.Forwarding.Custody;
        var heldSince = status.Forwarding.UpstreamHeldSince?.Time(status.Clock).UtcDateTime;
        if (heldSince is null && custody.Holder == CustodyHolder.Receiver) return null;
        var held = new UpstreamDocument(heldSince, custody.QueuedMessages, null, null, null, null, null);
        return custody.Holder != CustodyHolder.Cloud ? held : held with
        {
            HandedOver = custody.HandedOver,
            HandedOverSince = custody.Since?.Time(status.Clock).UtcDateTime,
            LostMessages = custody.LostMessages,
            ReturnedReadings = custody.ReturnedReadings,
            OutputsWithoutRoute = custody.Unrouted.Count > 0 ? string.Join(", ", custody.Unrouted) : null,
        };
    }
}
