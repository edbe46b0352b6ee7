using System.Text.Encodings.Web;
using System.Text.Json;
using EdgeSimulator.Accounting;

namespace EdgeSimulator.Runs;

/// <summary>The result of a run, written to the file of <c>--report</c>.</summary>
internal sealed record RunReport
{
    const int LostIdsMax = 100;

    static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public required string ExitReason { get; init; }

    public required string Verdict { get; init; }

    public required long Received { get; init; }

    public required long Unique { get; init; }

    public required long Duplicates { get; init; }

    public required long DuplicatesExplained { get; init; }

    /// <summary>Number of duplicates by the cause that explains them.</summary>
    public required IReadOnlyDictionary<string, long> DuplicateCauses { get; init; }

    public required long Lost { get; init; }

    /// <summary>At most 100 ranges of lost ids, prefixed with the epoch if the run had several epochs.</summary>
    public required IReadOnlyList<string> LostIds { get; init; }

    /// <summary>Readings that the module reported as evicted and that did not arrive.</summary>
    public required long Evicted { get; init; }

    /// <summary>Readings that the module sent again, whether or not they had arrived before.</summary>
    public required long SentAgain { get; init; }

    /// <summary>Readings that edgeHub acknowledged and lost. They may have arrived later, when the module sent them
    /// again.</summary>
    public required long LostByHub { get; init; }

    public required int HubRestarts { get; init; }

    /// <summary>Messages that violate the schemas of docs/schemas; null if they were not validated.</summary>
    public required long? SchemaViolations { get; init; }

    public required long Batches { get; init; }

    public required long Messages { get; init; }

    public required long Bytes { get; init; }

    public required IReadOnlyList<EpochSummary> Epochs { get; init; }

    /// <summary>The highest number of readings that had been sensed and had not arrived, by the readings'
    /// timestamps.</summary>
    public required long MaxBacklog { get; init; }

    public required int Restarts { get; init; }

    public required int Kills { get; init; }

    public required int UnexpectedExits { get; init; }

    public required int? ModuleExitCode { get; init; }

    public required double DurationSeconds { get; init; }

    public static RunReport From(
        LedgerSummary summary, string exitReason, string verdict, int hubRestarts, long? schemaViolations,
        (int Restarts, int Kills, int UnexpectedExits, int? ExitCode) module, TimeSpan duration) => new()
        {
            ExitReason = exitReason,
            Verdict = verdict,
            Received = summary.Received,
            Unique = summary.Unique,
            Duplicates = summary.Duplicates,
            DuplicatesExplained = summary.DuplicatesExplained,
            DuplicateCauses = summary.DuplicateCauses,
            Lost = summary.Lost,
            LostIds = summary.Epochs
                .SelectMany(epoch => epoch.LostRanges.Select(range =>
                    summary.Epochs.Count > 1 ? $"{epoch.Epoch}:{IdRanges.Text(range)}" : IdRanges.Text(range)))
                .Take(LostIdsMax)
                .ToList(),
            Evicted = summary.Evicted,
            SentAgain = summary.SentAgain,
            LostByHub = summary.LostByHub,
            HubRestarts = hubRestarts,
            SchemaViolations = schemaViolations,
            Batches = summary.Batches,
            Messages = summary.Messages,
            Bytes = summary.Bytes,
            Epochs = summary.Epochs,
            MaxBacklog = summary.MaxBacklog,
            Restarts = module.Restarts,
            Kills = module.Kills,
            UnexpectedExits = module.UnexpectedExits,
            ModuleExitCode = module.ExitCode,
            DurationSeconds = Math.Round(duration.TotalSeconds, 1),
        };

    public string ToJson() => JsonSerializer.Serialize(this, Json);
}
