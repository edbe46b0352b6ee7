using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Operations;

/// <summary>Writes what the status and the page both say of the way to the receiver: since when it is as it is, the
/// last error, the lanes, the day's quota, and what edgeHub holds. No secret is in it.</summary>
internal sealed class LinkReport(
    TelemetryBuffer buffer, Trends trends, TimeProvider timeProvider, IEdgeHubClient? hub =
        null, UpstreamWatch? upstream = null)
{
    /// <summary>Into an object that is open.</summary>
    public void WriteState(Utf8JsonWriter json, ForwardingStatus forwarding)
    {
        var (state, since) = trends.Link;
        json.WriteString("state", state.ToString());
        json.WriteString("since", since.UtcDateTime);
        if (LastError(forwarding) is not { } error) return;
        json.WriteString("lastError", LogText.Clean(error.Reason));
        json.WriteString("lastErrorAt", error.At.Time(timeProvider).UtcDateTime);
    }

    /// <summary>As a property of an object that is open.</summary>
    public void WriteLanes(Utf8JsonWriter json, ForwardingStatus forwarding, BufferStatus stored)
    {
        json.WriteStartObject("lanes");
        WriteLane(json, "live", forwarding.Live, forwarding.Batches - forwarding.BackfillBatches, stored);
        WriteLane(json, "backfill", forwarding.Backfill, forwarding.BackfillBatches, stored);
        json.WriteEndObject();
    }

    /// <summary>What is held back, here for the quota and since edgeHub has no cloud, as properties of an object that
    /// is open; nothing where there is neither a limit nor a metrics page.</summary>
    public void WriteHolds(Utf8JsonWriter json, ForwardingStatus forwarding)
    {
        if (forwarding.DailyMessageLimit > 0) WriteQuota(json, forwarding);
        if (forwarding.UpstreamHeldSince is null && upstream?.Waiting is null) return;
        json.WriteStartObject("upstream");
        if (forwarding.UpstreamHeldSince is { } since) json.WriteString(
            "heldSince", since.Time(timeProvider).UtcDateTime);
        if (upstream?.Waiting is { } waiting) json.WriteNumber("messages", waiting);
        json.WriteEndObject();
    }

    void WriteQuota(Utf8JsonWriter json, ForwardingStatus forwarding)
    {
        json.WriteStartObject("quota");
        json.WriteNumber("messagesToday", forwarding.MessagesToday);
        json.WriteNumber("dailyMessageLimit", forwarding.DailyMessageLimit);

        // A time that has passed holds nothing: the loop just has not looked since.
        if (forwarding.HeldBackUntil is { } until && until > timeProvider.GetUtcNow())
        {
            json.WriteString("heldBackUntil", until.UtcDateTime);
            json.WriteBoolean("isOnlyBacklogHeldBack", forwarding.IsOnlyBacklogHeldBack);
        }

        json.WriteEndObject();
    }

    SendFailure? LastError(ForwardingStatus forwarding)
    {
        var ofHub = trends.GoesToHub(forwarding) && hub?.Status is { LastError: { } reason, LastErrorAt: { } at }
            ? new SendFailure(reason, at)
            : null;
        return forwarding.LastFailure is { } ofSend && !(ofHub?.At.Timestamp > ofSend.At.Timestamp) ? ofSend : ofHub;
    }

    void WriteLane(Utf8JsonWriter json, string name, LaneStatus lane, long batches, BufferStatus stored)
    {
        // Ids that were given up meanwhile wait no more.
        var waiting = Math.Min(lane.Waiting, stored.Depth);
        json.WriteStartObject(name);
        json.WriteNumber("waiting", waiting);
        if (waiting > 0 && OldestAge(lane) is { } age) json.WriteNumber(
            "oldestAgeSeconds", Math.Round(age.TotalSeconds, 1));
        json.WriteNumber("inFlightBatches", lane.InFlightBatches);
        json.WriteNumber("inFlightReadings", lane.InFlightReadings);
        json.WriteNumber("batchesAccepted", batches);
        if (lane.LastAccepted is { } at) json.WriteString("lastAccepted", at.Time(timeProvider).UtcDateTime);
        json.WriteEndObject();
    }

    /// <summary>By the wall clock; null when the buffer can't be read now, or nothing waits any more.</summary>
    TimeSpan? OldestAge(LaneStatus lane)
    {
        try
        {
            var oldest = buffer.PeekBatch(lane.WaitingAfter, 1, 1);
            if (oldest.Count == 0) return null;
            var age = timeProvider.GetUtcNow() - oldest[0].RecordedAt;
            return age > TimeSpan.Zero ? age : TimeSpan.Zero;
        }
        catch (BufferUnavailableException)
        {
            return null;
        }
    }
}
