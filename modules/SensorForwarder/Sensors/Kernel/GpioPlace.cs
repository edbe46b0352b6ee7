using System.Globalization;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>The location of a line, and the configuration of an input, shared by the kinds <c>gpio</c> and
/// <c>counter</c>.</summary>
internal sealed class GpioPlace
{
    // The header's chip on a Raspberry Pi 5, 4 and earlier; the number of its node differs from kernel to kernel.
    static readonly string[] HeaderLabels = ["pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835"];

    static readonly Option<string> Bias = Option.Choice(
        "bias", ["asIs", "pullUp", "pullDown", "disabled"], "asIs", "The internal resistor on the line.");

    static readonly Option<double> Debounce = Option.Number(
        "debounceMilliseconds", 0, 60_000, 0, "The kernel reports a change when the line has been stable for "
            + "this long.");

    public static IReadOnlyList<Option> Options { get; } =
        [GpioOptions.Chip, GpioOptions.Line, GpioOptions.ActiveLow, Bias, Debounce];

    readonly string? _chip;
    readonly string _line;

    /// <param name="chip">Null: the only chip that has the line.</param>
    /// <param name="line">Its name or offset.</param>
    GpioPlace(string? chip, string line) => (_chip, _line) = (chip, line);

    public GpioPlace(SensorSettings settings)
        : this(settings.Get(GpioOptions.Chip), settings.Get(GpioOptions.Line) ?? "")
    {
    }

    public static string Claim(SensorSettings settings) => $"GPIO {new GpioPlace(settings)}";

    /// <summary>All share one bus, so that a line is released before it is requested again.</summary>
    public const string Bus = "gpio";

    public override string ToString() => _chip is null ? $"line {_line}" : $"line {_line} of {_chip}";

    /// <summary>What is asked of the line as an input.</summary>
    /// <param name="edges">Flags of the edges that are wanted.</param>
    public static GpioRequest Request(SensorSettings settings, ulong edges) => new(
        GpioRequest.Input | edges | (settings.Get(GpioOptions.ActiveLow) ? GpioRequest.ActiveLow : 0)
        | settings.Get(Bias) switch
        {
            "pullUp" => GpioRequest.PullUp,
            "pullDown" => GpioRequest.PullDown,
            "disabled" => GpioRequest.NoBias,
            _ => 0,
        },
        TimeSpan.FromMilliseconds(settings.Get(Debounce)));

    /// <summary>Takes a line as the output of alarms.</summary>
    /// <exception cref="SensorFault">As <see cref="Open"/>.</exception>
    public static OutputLine OpenOutput(SensorRoots roots, AlarmOutput output, bool isActive)
    {
        var flags = GpioRequest.Output | (output.IsActiveLow ? GpioRequest.ActiveLow : 0);
        var line = new GpioPlace(output.Chip, output.Line).Open(
            roots, new(flags, TimeSpan.Zero) { IsActive = isActive });
        return new(line.Set, line);
    }

    /// <summary>Takes the line.</summary>
    /// <exception cref="SensorFault">There is no such line, more than one, or it can't be requested.</exception>
    public GpioLine Open(SensorRoots roots, GpioRequest request)
    {
        var chips = OpenChips(roots);
        try
        {
            var isOffset = int.TryParse(_line, NumberStyles.None, CultureInfo.InvariantCulture, out var offset);
            var found = isOffset ? FindOffset(chips, offset) : FindLine(chips);
            return found.Chip.Request(found.Line, request);
        }
        finally
        {
            chips.ForEach(chip => chip.Dispose());
        }
    }

    List<GpioChip> OpenChips(SensorRoots roots)
    {
        var chips = new List<GpioChip>();
        SensorFault? fault = null;
        foreach (var node in GpioChip.Nodes(roots))
        {
            try
            {
                chips.Add(GpioChip.Open(roots, node));
            }
            catch (SensorFault exception)
            {
                fault = exception; // the line may be on another chip
            }
        }

        if (chips.Count == 0)
            throw fault ?? new SensorFault(
                FaultReason.Absent, $"{roots.Dev} has no gpiochip: it must be in createOptions' Devices");
        if (_chip is null) return chips;
        var named = chips.FindAll(chip => chip.Label == _chip || chip.Node == _chip);
        chips.Except(named).ToList().ForEach(chip => chip.Dispose());
        return named.Count > 0
            ? named
            : throw fault
                ?? new SensorFault(FaultReason.Absent, $"there is no GPIO chip {_chip}; there is {Labels(chips)}");
    }

    static (GpioChip Chip, GpioLineInfo Line) FindOffset(List<GpioChip> chips, int offset)
    {
        var chip = chips.Count == 1
            ? chips[0]
            : HeaderLabels.Select(label => chips.Find(chip => chip.Label == label))
                .FirstOrDefault(chip => chip is not null);
        if (chip is null) throw new SensorFault(
            FaultReason.Ambiguous, $"there are several GPIO chips: {Labels(chips)}; name one as chip");
        if (offset >= chip.Lines) throw new SensorFault(
            FaultReason.Absent, $"{chip.Label} has lines 0 to {chip.Lines - 1}, and no {offset}");
        return (chip, chip.InfoOf(offset));
    }

    (GpioChip Chip, GpioLineInfo Line) FindLine(List<GpioChip> chips)
    {
        var found = chips.SelectMany(
            chip => Enumerable.Range(0, chip.Lines).Select(offset => (Chip: chip, Line: chip.InfoOf(offset))))
            .Where(place => place.Line.Name == _line).ToList();
        return found.Count switch
        {
            1 => found[0],
            0 => throw new SensorFault(FaultReason.Absent, $"{Labels(chips)} has no line {_line}; --doctor lists them"),
            _ => throw new SensorFault(FaultReason.Ambiguous, $"there are several lines {_line}, on {Labels(
                found.ConvertAll(place => place.Chip))}: give the offset, and name the chip"),
        };
    }

    static string Labels(List<GpioChip> chips) => string.Join(", ", chips.Select(chip => chip.Label).Distinct());
}
