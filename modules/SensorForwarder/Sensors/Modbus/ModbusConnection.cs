using System.Net.Sockets;
using SensorForwarder.Net;
using SensorForwarder.Sensors.Serial;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors.Modbus;

/// <summary>
/// The connection to the Modbus devices behind one server or on one serial line. Opened by the first request and closed
/// on failure; the next request opens it again. One request at a time: used by the bus's thread only.
/// </summary>
internal sealed class ModbusConnection(ModbusPlace place, SensorWorld world) : IDisposable
{
    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(3);
    static readonly TimeSpan ResolveAndConnectTimeout = TimeSpan.FromSeconds(5);

    // The silence between two frames that the standard requires.
    const double SilentCharacters = 3.5;

    readonly SerialPort? _port = place.Format is { } format ? new(world, place.Name, format) : null;
    Socket? _socket;
    ushort _transaction;
    long? _lastUsed;
    bool _mayAnswerLate;

    public ModbusPlace Place => place;

    /// <summary>Sends a request to a device and returns its answer.</summary>
    /// <exception cref="SensorFault">The device did not answer, or the connection failed.</exception>
    public ModbusAnswer Ask(byte unit, ModbusRequest request, CancellationToken cancellationToken)
    {
        Rest(cancellationToken);
        try
        {
            return _port is null
                ? AskServer(unit, request, cancellationToken)
                : AskLine(_port, unit, request, cancellationToken);
        }
        finally
        {
            _lastUsed = world.TimeProvider.GetTimestamp();
        }
    }

    public void Dispose()
    {
        _port?.Dispose();
        _socket?.Dispose();
        _socket = null;
    }

    /// <summary>Waits for the pause between two requests.</summary>
    void Rest(CancellationToken cancellationToken)
    {
        if (_lastUsed is not { } last) return;
        var pause = place.Pause;
        if (place.Format?.TimeOf(SilentCharacters) is { } silence && silence > pause) pause = silence;
        // A late answer must not be taken for the answer to the next request: it carries no request number.
        if (_mayAnswerLate && place.Timeout > pause) pause = place.Timeout;
        _mayAnswerLate = false;
        var rest = pause - world.TimeProvider.GetElapsedTime(last);
        if (rest > TimeSpan.Zero) world.TimeProvider.Pause(rest, cancellationToken);
    }

    ModbusAnswer AskLine(SerialPort port, byte unit, ModbusRequest request, CancellationToken cancellationToken)
    {
        var frame = ModbusFrames.Rtu(unit, request);
        port.Discard();
        port.Write(frame, cancellationToken);
        var began = world.TimeProvider.GetTimestamp();
        var patience = place.Timeout + port.Format.TimeOf(frame.Length + ModbusFrames.RtuLength(request));
        var bytes = new byte[512];
        for (var length = 0; ;)
        {
            var read = length < bytes.Length
                ? port.Read(bytes.AsSpan(length), began, patience, cancellationToken)
                : 0;
            length += read;
            if (read > 0 && ModbusFrames.FindRtu(unit, request, bytes.AsSpan(0, length)) is { } answer) return answer;
            if (read > 0) continue;
            _mayAnswerLate = true;
            throw length == 0
                ? NoAnswer(unit)
                : new SensorFault(FaultReason.Crc, $"{length} bytes received on {place.Name} without an intact answer "
                    + $"of unit {unit}: are {port.Format} right?");
        }
    }

    ModbusAnswer AskServer(byte unit, ModbusRequest request, CancellationToken cancellationToken)
    {
        var socket = _socket ??= Connect(cancellationToken);
        var isAnswered = false;
        try
        {
            var began = world.TimeProvider.GetTimestamp();
            socket.SendTimeout = (int)place.Timeout.TotalMilliseconds;
            socket.Send(ModbusFrames.Tcp(++_transaction, unit, request));
            while (true)
            {
                var frame = Receive(ModbusFrames.TcpHeader);
                if (ModbusFrames.ReadTcpHeader(frame) is not { } header)
                    throw new SensorFault(FaultReason.Invalid, $"the answer of {place.Name} is not Modbus");
                var body = Receive(header.Length);
                // Skips answers to earlier requests and of other units.
                if (header.Transaction != _transaction || header.Unit != unit) continue;
                var answer = request.Read(body) ?? throw new SensorFault(
                    FaultReason.Invalid, $"unit {unit} at {place.Name} answers a different request");
                isAnswered = true;
                return answer;
            }

            byte[] Receive(int length)
            {
                var bytes = new byte[length];
                for (var read = 0; read < length;)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    var rest = place.Timeout - world.TimeProvider.GetElapsedTime(began);
                    if (rest <= TimeSpan.Zero) throw NoAnswer(unit);
                    socket.ReceiveTimeout = (int)Math.Ceiling(rest.TotalMilliseconds);
                    var count = socket.Receive(bytes, read, length - read, SocketFlags.None);
                    if (count == 0) throw new SensorFault(FaultReason.Io, $"{place.Name} closed the connection");
                    read += count;
                }

                return bytes;
            }
        }
        catch (SocketException exception)
        {
            throw exception.SocketErrorCode is SocketError.TimedOut or SocketError.WouldBlock
                ? NoAnswer(unit)
                : new SensorFault(FaultReason.Io, $"{place.Name}: {LogText.Clean(exception.Message)}");
        }
        finally
        {
            // After a failure, leftover bytes must not be read as an answer.
            if (!isAnswered) Dispose();
        }
    }

    Socket Connect(CancellationToken cancellationToken)
    {
        var began = world.TimeProvider.GetTimestamp();
        using var late = new CancellationTokenSource(ResolveAndConnectTimeout, world.TimeProvider);
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, late.Token);
        try
        {
            return world.Dialer.ConnectAsync(place.Host!, place.Port, ConnectTimeout, over.Token)
                .GetAwaiter().GetResult();
        }
        catch (NotConnectedException exception)
        {
            // Reported as a fault of the bus, so that the other sensors behind a slow server do not wait for it too.
            var isSlow = world.TimeProvider.GetElapsedTime(began) >= ConnectTimeout;
            throw new SensorFault(
                isSlow ? FaultReason.BusTimeout : FaultReason.Io, $"{place.Name}: {exception.Message}");
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new SensorFault(FaultReason.BusTimeout,
                $"{place.Name}: the name was not resolved within {ResolveAndConnectTimeout.TotalSeconds:0} s");
        }
    }

    SensorFault NoAnswer(byte unit) => new(
        FaultReason.Timeout, $"unit {unit} at {place.Name} did not answer within {place.Timeout.TotalSeconds:0.##} s");
}
