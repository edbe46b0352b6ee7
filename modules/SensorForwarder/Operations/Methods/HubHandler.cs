using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Intake;
using SensorForwarder.Operations.Status;

namespace SensorForwarder.Operations.Methods;

/// <summary>Dispatches the hub's events, calls and messages to twin, methods, status and intake. Called by the
/// connection.</summary>
internal sealed class HubHandler(
    TwinSynchronizer twin, DirectMethods methods, StatusReporter reporter, ModuleInputs inputs)
    : IEdgeHubHandler
{
    public async Task OnConnectedAsync(CancellationToken cancellationToken)
    {
        await twin.SynchronizeAsync(cancellationToken);
        reporter.ReportSoon(twin.ReportedBefore(StatusReporter.Section));
    }

    public void OnDesiredPatch(long? version, ReadOnlyMemory<byte> patch) => twin.Offer(version, patch);

    public Task<MethodAnswer> OnMethodAsync(
        string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken) =>
        methods.InvokeAsync(name, payload, cancellationToken);

    public Task<bool> OnInputAsync(InputMessage message, CancellationToken cancellationToken) =>
        inputs.TakeAsync(message, cancellationToken);
}
