namespace SensorForwarder.Sensors.Modbus;

/// <summary>The four tables of a Modbus device. The numbers are those of the functions that read them.</summary>
internal enum ModbusTable
{
    /// <summary>Bits that can be written.</summary>
    Coil = 1,

    /// <summary>Bits that can only be read.</summary>
    Discrete = 2,

    /// <summary>Registers that can be written.</summary>
    Holding = 3,

    /// <summary>Registers that can only be read.</summary>
    Input = 4,
}

/// <summary>How a value stands in one or several registers.</summary>
internal enum ModbusType
{
    Bool,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Float32,
    Float64,
}

/// <summary>The order of the bytes of a value. ABCD is the most significant byte first, and the most significant
/// register: what the standard says for one register, and most devices do for several.</summary>
internal enum ModbusOrder
{
    Abcd,

    /// <summary>All bytes reversed.</summary>
    Dcba,

    /// <summary>The bytes of each register swapped.</summary>
    Badc,

    /// <summary>The least significant register first.</summary>
    Cdab,
}
