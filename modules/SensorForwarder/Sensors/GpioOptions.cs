using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>The options that say which GPIO line is meant.</summary>
internal static class GpioOptions
{
    public static readonly Option<string?> Chip = Option.TextOf(
        "chip", "The chip's label, such as `pinctrl-bcm2711`; if left out: the only chip that has a line with this "
            + "name, or the chip of a Raspberry Pi's header.", 31);

    public static readonly Option<string?> Line = Option.NameOrNumber(
        "line", 0, 1023, 31, "The line's name, such as `GPIO17`, or its offset on the chip, such as 17.") with
    { IsRequired = true };

    public static readonly Option<bool> ActiveLow = Option.Flag(
        "activeLow", false, "`true`: the line is active when its voltage is low, as with a contact to ground.");
}
