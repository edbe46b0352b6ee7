using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Benchmarks.EdgeHub;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Intake;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Intake;

/// <summary>Messages per second at the module's input over TLS on loopback. The server sends each message after the
/// acknowledgement of the previous one, as edgeHub does, so each message is a separate commit.</summary>
internal static class InputRate
{
    const int Messages = 1_000;
    const int Turns = 3;

    public static Benchmark Benchmark { get; } = new(
        ["intake.input.messagesPerSecond"], token => Task.Run(() => RunAsync(token), token));

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        var rates = new List<double>();
        for (var turn = 0; turn < Turns; turn++) rates.Add(await PerSecondAsync(place.New(), cancellationToken));
        return [new("intake.input.messagesPerSecond", Median(rates), "1/s", ">= 200 with commitIntervalMs 1000")];
    }

    static async Task<double> PerSecondAsync(string directory, CancellationToken cancellationToken)
    {
        await using var buffer = await TelemetryBuffer.OpenAsync(
            new() { Directory = directory, Limits = new() { CommitInterval = TimeSpan.FromSeconds(1) } },
            TimeProvider.System, NullLogger<TelemetryBuffer>.Instance, cancellationToken);
        using var server = PubackServer.Start(directory, Messages);
        var store = new IntakeStore(buffer, new() { ReadingsPerSecond = 0 }, TimeProvider.System);
        using var connection = new EdgeHubConnection(
            server.Identity, new() { Transport = HubTransport.Mqtt }, TimeProvider.System, new Random(), NullLogger<EdgeHubConnection>.Instance)
        {
            Handler = new Handler(new(store, server.Identity, TimeProvider.System, NullLogger<ModuleInputs>.Instance)),
        };
        await connection.StartAsync(cancellationToken);
        while (server.InputsAcknowledged == 0) await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, cancellationToken);
        var (clock, first) = (Stopwatch.StartNew(), server.InputsAcknowledged);
        while (server.InputsAcknowledged < Messages) await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System, cancellationToken);
        var rate = (Messages - first) / clock.Elapsed.TotalSeconds;
        await connection.StopAsync(cancellationToken);
        return buffer.LastCommittedId == Messages
            ? rate
            : throw new InvalidOperationException($"{buffer.LastCommittedId} readings are stored, {Messages} were acknowledged");
    }

    sealed class Handler(ModuleInputs inputs) : IEdgeHubHandler
    {
        public Task OnConnectedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public void OnDesiredPatch(long? version, ReadOnlyMemory<byte> patch)
        {
            // The twin has no properties.
        }

        public Task<MethodAnswer> OnMethodAsync(string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken) =>
            Task.FromResult(new MethodAnswer(501, default));

        public Task<bool> OnInputAsync(InputMessage message, CancellationToken cancellationToken) =>
            inputs.TakeAsync(message, cancellationToken);
    }
}
