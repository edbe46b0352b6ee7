namespace SensorForwarder.Sensors.Modbus;

/// <summary>The four tables of a Modbus device, numbered by the function codes that read them.</summary>
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

/// <summary>The representation of a value in one or more registers.</summary>
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

/// <summary>The byte order of a value. ABCD: most significant byte and most significant register first, which the
/// standard prescribes within a register and most devices follow across registers.</summary>
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
