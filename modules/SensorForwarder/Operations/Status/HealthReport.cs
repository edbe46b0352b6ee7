using System.Text.Json;

namespace SensorForwarder.Operations.Status;

/// <summary>The result of one check.</summary>
/// <param name="Fault">What is wrong; null: nothing.</param>
/// <param name="IsMinor">The module works despite the fault.</param>
internal sealed record HealthCheck(string Name, string? Fault, bool IsMinor = false);

/// <summary>The answer of <c>/healthz</c> and <c>/readyz</c>:
/// <c>{"status":"ready","checks":{"storage":{"ok":true},..}}</c>.</summary>
/// <param name="Good">The status without faults; with only minor ones it is <see cref="Degraded"/>.</param>
/// <param name="Bad">The status with a fault that is not minor.</param>
internal sealed record HealthReport(string Good, string Bad, IReadOnlyList<HealthCheck> Checks)
{
    public const string Degraded = "degraded";

    public bool IsOk => Checks.All(check => check.Fault is null || check.IsMinor);

    public byte[] ToJson()
    {
        var checks = Checks.Select(check => KeyValuePair.Create(
            check.Name, new HealthCheckDocument(check.Fault is null, check.Fault)));
        var status = !IsOk ? Bad : Checks.All(check => check.Fault is null) ? Good : Degraded;
        return JsonSerializer.SerializeToUtf8Bytes(
            new HealthDocument(status, new(checks)), StatusJson.Default.HealthDocument);
    }
}

internal sealed record HealthDocument(string Status, OrderedDictionary<string, HealthCheckDocument> Checks);

internal sealed record HealthCheckDocument(bool Ok, string? Reason);
