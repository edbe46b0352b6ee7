using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Operations;

/// <summary>Hands what the hub asks to the part that knows the answer.</summary>
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
