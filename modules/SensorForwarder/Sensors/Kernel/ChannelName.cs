namespace SensorForwarder.Sensors.Kernel;

internal static class ChannelName
{
    /// <summary>Makes a name for readings: <c>temperature</c> and <c>_object</c> are <c>temperatureObject</c>,
    /// <c>voltage</c> and <c>0-voltage1</c> are <c>voltage0Voltage1</c>.</summary>
    public static string Join(string name, string rest)
    {
        var words = $"{name}{rest}".Split(['_', '-', ' ', '.', ':', '/'], StringSplitOptions.RemoveEmptyEntries);
        return string.Concat(words.Select((word, i) => i == 0 ? word : char.ToUpperInvariant(word[0]) + word[1..]));
    }
}
