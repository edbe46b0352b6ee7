using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors.Modbus;

/// <summary>A value of a Modbus device: its address and its representation. Immutable.</summary>
/// <param name="Name">Its name in readings.</param>
/// <param name="Address">The address of its first register, or of its bit, from 0.</param>
/// <param name="Type">Its representation in the registers.</param>
/// <param name="Bit">For <see cref="ModbusType.Bool"/> in a register: the bit's number, 0 for the lowest.</param>
/// <param name="Scale">Multiplied with the number.</param>
/// <param name="Offset">Added after scaling.</param>
/// <param name="Unit">The unit of the result; empty if unknown.</param>
internal sealed record ModbusValue(
    string Name, ModbusTable Table, int Address, ModbusType Type, ModbusOrder Order = ModbusOrder.Abcd, int Bit = 0,
    double Scale = 1, double Offset = 0, string Unit = "")
{
    const int MaxNameLength = 64, MaxUnitLength = 32, MaxValues = 250, BitsOfRegister = 16, LastAddress = 0xFFFF;
    const double Huge = CommonOptions.Huge;

    // Hides binary rounding: 2301 * 0.1 is 230.10000000000002.
    const int Decimals = 9;

    static readonly Option<ModbusTable> TableOption = Option.Choice(
        "register",
        [
            ("holding", ModbusTable.Holding), ("input", ModbusTable.Input), ("coil", ModbusTable.Coil),
            ("discrete", ModbusTable.Discrete),
        ],
        ModbusTable.Holding, "The table of the value.");

    static readonly Option<int> AddressOption = Option.HexNumber(
        "address", 0, LastAddress, "Its first register or its bit, from 0: what a manual calls 40001 is `0` of "
            + "`holding`, 30001 `0` of `input`, 10001 `0` of `discrete`. A text such as `\"0x9c41\"` is used unchanged."
        ) with
    { IsRequired = true };

    static readonly Option<ModbusType> TypeOption = Option.Choice(
        "type",
        [
            ("bool", ModbusType.Bool), ("int16", ModbusType.Int16), ("uint16", ModbusType.UInt16),
            ("int32", ModbusType.Int32), ("uint32", ModbusType.UInt32), ("int64", ModbusType.Int64),
            ("uint64", ModbusType.UInt64), ("float32", ModbusType.Float32), ("float64", ModbusType.Float64),
        ],
        ModbusType.UInt16, "Its representation: `bool` is one bit, the others take 1, 2 or 4 registers.")
        .From("`bool` of `coil` and `discrete`, else `uint16`");

    static readonly Option<ModbusOrder> OrderOption = Option.Choice(
        "order",
        [
            ("ABCD", ModbusOrder.Abcd), ("DCBA", ModbusOrder.Dcba), ("BADC", ModbusOrder.Badc),
            ("CDAB", ModbusOrder.Cdab),
        ],
        ModbusOrder.Abcd, "The order of the bytes: `ABCD` as in the standard, `CDAB` the lowest register first, "
            + "`BADC` the bytes of each register swapped, `DCBA` both.");

    static readonly Option<int> BitOption = Option.Integer(
        "bit", 0, BitsOfRegister - 1, 0, "With type `bool` in a register: which bit, 0 is the lowest.");

    static readonly Option<double> ScaleOption = Option.Number(
        "scale", -Huge, Huge, 1, "The number is multiplied by this.");

    static readonly Option<double> OffsetOption = Option.Number(
        "offset", -Huge, Huge, 0, "This is added, after `scale`.");

    static readonly Option<string?> UnitOption = Option.TextOf(
        "unit", "Its unit, after `scale` and `offset`; it is reported with the values.", MaxUnitLength);

    /// <summary>The options of each value.</summary>
    public static IReadOnlyList<Option> Options { get; } =
        [TableOption, AddressOption, TypeOption, OrderOption, BitOption, ScaleOption, OffsetOption, UnitOption];

    /// <summary>The map of all values of a device.</summary>
    public static Option<IReadOnlyList<ModbusValue>> Map { get; } =
        new(
            "values", new OptionShape.Entries(Options, MaxValues, MaxNameLength),
            "The values to read, by name: address and representation of each.", [], TryRead,
            static _ => null) // it has no default, and is acknowledged as it was written
        {
            IsRequired = true,
            Fault = FindFault,
        };

    public bool IsBit => IsOfBits(Table);

    /// <summary>The number of its registers or bits.</summary>
    public int Count => Type switch
    {
        ModbusType.Int32 or ModbusType.UInt32 or ModbusType.Float32 => 2,
        ModbusType.Int64 or ModbusType.UInt64 or ModbusType.Float64 => 4,
        _ => 1,
    };

    /// <summary>Decodes it from an answer.</summary>
    /// <param name="data">Registers or bits.</param>
    /// <param name="first">The address of the first of them.</param>
    /// <returns>May be infinite or NaN if the registers contain that.</returns>
    public double Decode(ReadOnlySpan<byte> data, int first)
    {
        var place = Address - first;
        if (IsBit) return Adjust((data[place / 8] >> (place % 8)) & 1);
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        bytes = bytes[..(Count * 2)];
        data.Slice(place * 2, bytes.Length).CopyTo(bytes);
        Arrange(bytes, Order);
        return Adjust(Type switch
        {
            ModbusType.Bool => (BinaryPrimitives.ReadUInt16BigEndian(bytes) >> Bit) & 1,
            ModbusType.Int16 => BinaryPrimitives.ReadInt16BigEndian(bytes),
            ModbusType.UInt16 => BinaryPrimitives.ReadUInt16BigEndian(bytes),
            ModbusType.Int32 => BinaryPrimitives.ReadInt32BigEndian(bytes),
            ModbusType.UInt32 => BinaryPrimitives.ReadUInt32BigEndian(bytes),
            ModbusType.Int64 => BinaryPrimitives.ReadInt64BigEndian(bytes),
            ModbusType.UInt64 => BinaryPrimitives.ReadUInt64BigEndian(bytes),
            ModbusType.Float32 => Shortest(BinaryPrimitives.ReadSingleBigEndian(bytes)),
            _ => BinaryPrimitives.ReadDoubleBigEndian(bytes),
        });
    }

    /// <summary>Converts bytes between an order and <see cref="ModbusOrder.Abcd"/>. Its own inverse.</summary>
    public static void Arrange(Span<byte> bytes, ModbusOrder order)
    {
        if (order is ModbusOrder.Dcba or ModbusOrder.Cdab) bytes.Reverse();
        if (order is not (ModbusOrder.Badc or ModbusOrder.Cdab)) return;
        for (var i = 0; i + 1 < bytes.Length; i += 2) (bytes[i], bytes[i + 1]) = (bytes[i + 1], bytes[i]);
    }

    static bool IsOfBits(ModbusTable table) => table is ModbusTable.Coil or ModbusTable.Discrete;

    double Adjust(double number) => Scale == 1 && Offset == 0 || !double.IsFinite(number)
        ? number
        : Math.Round((number * Scale) + Offset, Decimals);

    /// <summary>The shortest decimal with the same 32-bit representation: 230.1 instead of
    /// 230.10000610351562.</summary>
    static double Shortest(float number) => double.Parse(
        number.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    static bool TryRead(JsonElement map, out IReadOnlyList<ModbusValue> values)
    {
        values = [];
        if (map.ValueKind != JsonValueKind.Object || FindFault(map) is not null) return false;
        values = [.. Given(map).Select(entry => Read(entry.Name, entry.Value))];
        return values.Count > 0;
    }

    static IEnumerable<JsonProperty> Given(JsonElement map) =>
        map.EnumerateObject().Where(entry => entry.Value.ValueKind != JsonValueKind.Null);

    static ModbusValue Read(string name, JsonElement entry)
    {
        var table = SensorSettings.Get(TableOption, entry);
        return new(
            name, table, SensorSettings.Get(AddressOption, entry),
            IsOfBits(table) ? ModbusType.Bool : SensorSettings.Get(TypeOption, entry),
            SensorSettings.Get(OrderOption, entry), SensorSettings.Get(BitOption, entry),
            SensorSettings.Get(ScaleOption, entry), SensorSettings.Get(OffsetOption, entry),
            SensorSettings.Get(UnitOption, entry) ?? "");
    }

    /// <summary>Describes all faults of the map; null if there are none or the value is not a map.</summary>
    static string? FindFault(JsonElement map)
    {
        if (map.ValueKind != JsonValueKind.Object) return null;
        var problems = new List<string>();
        var count = 0;
        foreach (var entry in Given(map))
        {
            var name = LogText.Name(entry.Name);
            if (entry.Name.Length is 0 or > MaxNameLength || entry.Name.Any(char.IsControl))
                problems.Add($"{name}: a name has 1 to {MaxNameLength} characters");
            else if (entry.Value.ValueKind != JsonValueKind.Object)
                problems.Add($"{name}: {LogText.Quote(entry.Value)} is not an object such as {{\"address\":0}}");
            else problems.AddRange(FindFaults(entry.Value).Select(problem => $"{name}: {problem}"));
            if (++count > MaxValues) return $"there are more than {MaxValues} values: give the rest to another sensor";
        }

        return problems.Count > 0 ? string.Join(", ", problems) : null;
    }

    static List<string> FindFaults(JsonElement entry)
    {
        if (FindManualNumber(entry) is { } number) return [number];
        var problems = Option.FindFaults(Options, entry, "a value");
        if (problems.Count > 0) return problems;
        var value = Read("", entry);
        if (value.IsBit && entry.TryGetProperty(TypeOption.Name, out var type) && type.ValueKind != JsonValueKind.Null
            && SensorSettings.Get(TypeOption, entry) != ModbusType.Bool)
            return [$"type: a {NameOf(value.Table)} is a bit: write \"bool\", or leave the type out"];
        return value.Address + value.Count > LastAddress + 1
            ? [$"address: {value.Count} registers from {value.Address} on exceed {LastAddress}, the last address"]
            : [];
    }

    /// <summary>Recognizes register numbers of manuals, which count from 1 and prefix the table (40001 is the first
    /// holding register), and says what to write instead; null for other addresses.</summary>
    static string? FindManualNumber(JsonElement entry)
    {
        if (!entry.TryGetProperty(AddressOption.Name, out var address) || address.ValueKind != JsonValueKind.Number
            || !address.TryGetInt32(out var number)) return null;
        (ModbusTable Table, int First)? meant = number switch
        {
            >= 10_001 and <= 19_999 => (ModbusTable.Discrete, 10_001),
            >= 30_001 and <= 39_999 => (ModbusTable.Input, 30_001),
            >= 40_001 and <= 49_999 => (ModbusTable.Holding, 40_001),
            >= 100_001 and <= 165_536 => (ModbusTable.Discrete, 100_001),
            >= 300_001 and <= 365_536 => (ModbusTable.Input, 300_001),
            >= 400_001 and <= 465_536 => (ModbusTable.Holding, 400_001),
            _ => null,
        };
        if (meant is not { } place) return null;
        entry.TryGetProperty(TableOption.Name, out var given);
        // The address of a register can really be 10001.
        if (!TableOption.TryRead(given, out var table, out _) || table == ModbusTable.Coil
            || (table == ModbusTable.Discrete) != (place.Table == ModbusTable.Discrete)) return null;
        var hint = number <= LastAddress
            ? $"; if the device does count that far, write \"address\":\"0x{number:x}\""
            : "";
        return $"address: {number} is the number in a manual; addresses start at 0: write "
            + $"\"register\":\"{NameOf(place.Table)}\",\"address\":{number - place.First}{hint}";
    }

    static string NameOf(ModbusTable table) => TableOption.Format(table)!.GetValue<string>();
}
