using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Operations.Status;

namespace SensorForwarder.Operations.Methods;

/// <summary>Dispatches the hub's events and calls to twin, methods and status. Called by the connection.</summary>
internal sealed class HubHandler(
    TwinSynchronizer twin, DirectMethods methods, StatusReporter reporter) : IEdgeHubHandler
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
}
