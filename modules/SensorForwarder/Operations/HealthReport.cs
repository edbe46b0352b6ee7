using System.Buffers;
using System.Text.Json;

namespace SensorForwarder.Operations;

/// <summary>One thing that was looked at.</summary>
/// <param name="Name">What.</param>
/// <param name="Fault">What is wrong with it, in plain words; null: nothing.</param>
/// <param name="IsMinor">Whether the module does its work in spite of that.</param>
internal sealed record HealthCheck(string Name, string? Fault, bool IsMinor = false);

/// <summary>What <c>/healthz</c> and <c>/readyz</c> answer:
/// <c>{"status":"ready","checks":{"storage":{"ok":true},..}}</c>.</summary>
/// <param name="Good">The status when nothing is wrong; <see cref="Degraded"/> when only something minor is.</param>
/// <param name="Bad">The status when something is.</param>
/// <param name="Checks">What was looked at.</param>
internal sealed record HealthReport(string Good, string Bad, IReadOnlyList<HealthCheck> Checks)
{
    public const string Degraded = "degraded";

    public bool IsOk => Checks.All(check => check.Fault is null || check.IsMinor);

    public byte[] ToJson()
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteString("status", !IsOk ? Bad : Checks.All(check => check.Fault is null) ? Good : Degraded);
            json.WriteStartObject("checks");
            foreach (var check in Checks)
            {
                json.WriteStartObject(check.Name);
                json.WriteBoolean("ok", check.Fault is null);
                if (check.Fault is { } fault) json.WriteString("reason", fault);
                json.WriteEndObject();
            }

            json.WriteEndObject();
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }
}
