namespace SensorForwarder.Sensors.Drivers;

/// <summary>
/// Kinds <c>mcp9808</c>, <c>lm75</c> and <c>tmp102</c>: thermometers with one register of 16 bits. Data sheets MCP9808
/// (DS25095) section 5.1.3, LM75 section 7.5, TMP102 (SBOS397) section 6.5.
/// </summary>
internal sealed class Thermometer(I2cPort port, bool isMcp9808) : ISensor
{
    const byte Register = 0, McpRegister = 5, MakerRegister = 6, DeviceRegister = 7;
    const int Microchip = 0x0054, Mcp9808Device = 0x04;
    static readonly SensorValue[] Values = [new("temperature", "degrees Celsius", -55, 128)];

    public static SensorKind Mcp9808 { get; } = I2cPort.Kind(
        "mcp9808", "Microchip MCP9808: temperature", [.. Enumerable.Range(0x18, 8)], Values, (port, _) =>
            new Thermometer(port, true))
        with
    { Probe = new([MakerRegister], 2, answer => answer is [0x00, 0x54]) };

    public static SensorKind Lm75 { get; } = I2cPort.Kind(
        "lm75", "LM75 and its relatives: temperature", [.. Enumerable.Range(0x48, 8)], Values, (port, _) =>
            new Thermometer(port, false))
        with
    { Probe = new([Register], 2, _ => true) { IsGuess = true } };

    public static SensorKind Tmp102 { get; } = I2cPort.Kind(
        "tmp102", "TI TMP102: temperature", [0x48, 0x49, 0x4A, 0x4B], Values, (port, _) => new Thermometer(port, false))
        with
    { Probe = new([Register], 2, _ => true) { IsGuess = true } };

    // For air and water; a faster change is a loose wire.
    readonly Plausibility _plausibility = new(port.TimeProvider, new Pace("temperature", 10, 2));

    bool _isChecked = !isMcp9808;

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        if (!_isChecked) CheckId();
        _isChecked = true;
        var word = port.ReadWord(isMcp9808 ? McpRegister : Register);
        if (word == 0)
        {
            // 0 degrees, or the value after power-on until the first conversion ends, within 300 ms.
            port.Pause(300, cancellationToken);
            word = port.ReadWord(isMcp9808 ? McpRegister : Register);
        }

        if (word == 0xFFFF) return ValueTask.FromResult(
            Measurement.Bad(FaultReason.Invalid, "only ones on the wire: missing pull-ups or no chip"));
        // MCP9808: 1/16 degrees in 12 bits, bit 12 is the sign; the others: 1/256 degrees in 16 bits.
        var celsius = isMcp9808 ? ((word & 0x0FFF) - (word & 0x1000)) / 16.0 : (short)word / 256.0;
        var value = Measured.Value("temperature", celsius, 4);
        return ValueTask.FromResult(_plausibility.FindMisread([value]) is { } jump
            ? Measured.Uncertain(FaultReason.Range, jump, value)
            : Measured.Good(value));
    }

    public void Dispose() => port.Dispose();

    void CheckId()
    {
        var (maker, device) = (port.ReadWord(MakerRegister), port.ReadWord(DeviceRegister));
        if (maker != Microchip || device >> 8 != Mcp9808Device)
            throw new SensorFault(
                FaultReason.Invalid, $"ids 0x{maker:x4} and 0x{device:x4} are not those of an MCP9808");
    }
}
