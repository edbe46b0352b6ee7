using System.Device.Spi;
using SensorForwarder.Options;
using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors.Bindings;

/// <summary>
/// A chip driven by Iot.Device.Bindings. The binding converts registers to values. Bus access, deadline, fault reasons
/// and validation are ours: each measurement reads the configuration registers back, reinitializes a chip that has lost
/// them, and turns any exception of the binding into a bad measurement. Used by the bus's thread only.
/// </summary>
internal sealed class BoundChip(
    BoundConversation conversation, Func<Func<CancellationToken, Measurement>> open, IDisposable port) : ISensor
{
    Func<CancellationToken, Measurement>? _measure;

    /// <summary>Describes the kind of an I2C chip.</summary>
    /// <param name="addresses">Where it can be; the first is the default.</param>
    /// <param name="values">The values that it publishes, with the ranges of its data sheet.</param>
    /// <param name="reads">How its answers are checked.</param>
    /// <param name="open">Creates the binding, registers the expected register values, and returns the function that
    /// measures.</param>
    /// <param name="probe">How the doctor recognises it.</param>
    /// <param name="registerBytes">Length of a register's number.</param>
    public static SensorKind Kind(
        string name, string text, int[] addresses, SensorValue[] values, BoundReads reads,
        Func<BoundPort, SensorSettings, Func<CancellationToken, Measurement>> open, Option[]? options = null,
        I2cProbe? probe = null, int registerBytes = 1) => I2cPort.Kind(
            name, text, addresses, values,
            (port, settings) =>
            {
                var conversation = new BoundConversation(port.TimeProvider);
                var bound = new BoundPort(port, conversation, reads, registerBytes);
                return new BoundChip(conversation, () => open(bound, settings), port);
            },
            options ?? [])
        with
        { Probe = probe };

    /// <summary>Describes the kind of an SPI chip.</summary>
    /// <inheritdoc cref="Kind"/>
    public static SensorKind SpiKind(
        string name, string text, int clockHertz, SpiMode mode, SensorValue[] values, Func<byte, bool> isRead,
        Func<BoundSpi, SensorSettings, Func<CancellationToken, Measurement>> open, params Option[] options) =>
        SpiPort.Kind(
            name, text, clockHertz, values,
            (port, settings) =>
            {
                var conversation = new BoundConversation(port.TimeProvider);
                var bound = new BoundSpi(port, conversation, isRead);
                return new BoundChip(conversation, () => open(bound, settings), port);
            },
            mode, options);

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken) =>
        ValueTask.FromResult(Measure(cancellationToken));

    public void Dispose() => port.Dispose();

    Measurement Measure(CancellationToken cancellationToken)
    {
        conversation.Begin();
        try
        {
            if (_measure is null || !conversation.IsAsExpected)
            {
                conversation.Forget();
                _measure = null;
                _measure = open();
            }

            var measurement = _measure(cancellationToken);
            if (conversation.Fault is { } hidden) throw hidden;
            return conversation.IsAsExpected
                ? measurement
                : Measurement.Bad(FaultReason.Invalid, "the chip does not keep its configuration: was it reset?");
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw;
        }
        catch (Exception exception) when (exception is not SensorFault)
        {
            // The binding rejected what the chip sent, or failed on it.
            throw conversation.Fault ?? new SensorFault(FaultReason.Invalid, exception.Message);
        }
    }
}
