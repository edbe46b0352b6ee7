namespace EdgeSimulator.Hub;

/// <summary>Where a message goes. Immutable.</summary>
/// <param name="routes">The routes of the manifest.</param>
/// <param name="storeMaxBytes">How much may wait for the cloud; null is <see cref="StoreBytes"/>, where edgeHub has no limit but its disk.</param>
internal sealed class RoutingTable(IReadOnlyList<Route> routes, long? storeMaxBytes = null)
{
    const long StoreBytes = 256L << 20;

    /// <summary>Without a manifest, everything goes to the cloud.</summary>
    public static RoutingTable EverythingUpstream { get; } = new([new Route("everything", "/", null, null, Route.LowestPriority, null)]);

    public IReadOnlyList<Route> Routes { get; } = routes;

    public long StoreMaxBytes { get; } = storeMaxBytes ?? StoreBytes;

    /// <summary>The priorities of the queues to the cloud.</summary>
    public IReadOnlyList<int> UpstreamPriorities { get; } =
        [.. routes.Where(route => route.Input is null).Select(route => route.Priority).Distinct().Order()];

    /// <summary>The route to the cloud: of several, the one that goes first; edgeHub sends one copy to an endpoint. And the inputs.
    /// Neither: edgeHub acknowledges the message and drops it.</summary>
    public (Route? Upstream, IReadOnlyList<string> Inputs) Find(RoutedMessage message)
    {
        var taken = Routes.Where(route => route.Takes(message)).ToList();
        return (
            taken.Where(route => route.Input is null).MinBy(route => route.Priority),
            [.. taken.Where(route => route.Input is not null).Select(route => route.Input!).Distinct(StringComparer.OrdinalIgnoreCase)]);
    }
}
