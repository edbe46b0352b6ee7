using System.Globalization;
using System.Numerics;
using System.Text;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>
/// The states of all stored readings, and other values that change with most transactions. Stored in the segment row
/// that a transaction writes, or in <c>meta</c> if it writes none; of several copies, the one with the highest
/// <see cref="Sequence"/> is valid. Immutable.
/// </summary>
internal sealed record QueueState
{
    public static readonly QueueState Empty = new();

    /// <summary>Incremented with each copy that is written.</summary>
    public long Sequence { get; init; }

    /// <summary>The highest id ever assigned; 0 before the first.</summary>
    public long LastId { get; init; }

    /// <summary>Readings in the file.</summary>
    public long Stored { get; init; }

    /// <summary>Of these, the readings neither handed over nor delivered.</summary>
    public long Waiting { get; init; }

    /// <summary>Segments up to this id are merged.</summary>
    public long MergedThrough { get; init; }

    /// <summary>Ids confirmed by the receiver, and all ids below the first stored one.</summary>
    public IdSet Delivered { get; init; } = IdSet.Empty;

    /// <summary>Ids accepted by edgeHub and not confirmed yet.</summary>
    public IdSet HandedOver { get; init; } = IdSet.Empty;

    /// <summary>The text of <see cref="TelemetryBuffer.KeepNote"/>.</summary>
    public string Note { get; init; } = "";

    /// <summary>Ids that must not be sent now.</summary>
    public IdSet NotWaiting => HandedOver.IsEmpty ? Delivered : Delivered.Union(HandedOver);

    /// <summary>The serialised form, see README.md. The last line is a checksum: a flipped bit must not hide readings.
    /// </summary>
    public string Write()
    {
        var text = string.Create(
            CultureInfo.InvariantCulture,
            $"{Sequence} {LastId} {Stored} {Waiting} {MergedThrough}\n{Delivered}\n{HandedOver}\n{Note}\n");
        return text + Check(text);
    }

    /// <returns>Null when the text is invalid.</returns>
    public static QueueState? TryParse(string? text)
    {
        var end = text?.LastIndexOf('\n') ?? -1;
        if (end < 0 || text![(end + 1)..] != Check(text[..(end + 1)]))
            return null;
        var lines = text[..end].Split('\n', 4);
        if (lines.Length != 4 || lines[0].Split(' ') is not { Length: 5 } words)
            return null;
        var numbers = new long[5];
        for (var i = 0; i < numbers.Length; i++)
        {
            if (!long.TryParse(words[i], NumberStyles.None, CultureInfo.InvariantCulture, out numbers[i]))
                return null;
        }
        return IdSet.TryParse(lines[1]) is { } delivered && IdSet.TryParse(lines[2]) is { } handedOver
            ? new QueueState
            {
                Sequence = numbers[0],
                LastId = numbers[1],
                Stored = numbers[2],
                Waiting = numbers[3],
                MergedThrough = numbers[4],
                Delivered = delivered,
                HandedOver = handedOver,
                Note = lines[3],
            }
            : null;
    }

    static string Check(string text)
    {
        var sum = 0u;
        foreach (var b in Encoding.UTF8.GetBytes(text))
            sum = BitOperations.Crc32C(sum, b);
        return sum.ToString("x8", CultureInfo.InvariantCulture);
    }
}
