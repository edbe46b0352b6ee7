namespace EdgeSimulator.Hub;

/// <summary>Where a message goes. Immutable.</summary>
internal sealed class RoutingTable(IReadOnlyList<Route> routes)
{
    /// <summary>Without a manifest, everything goes to the cloud.</summary>
    public static RoutingTable EverythingUpstream { get; } = new([new Route("everything", "/", null, null, Route.LowestPriority, null)]);

    public IReadOnlyList<Route> Routes { get; } = routes;

    /// <summary>The priorities of the queues to the cloud.</summary>
    public IReadOnlyList<int> UpstreamPriorities { get; } =
        [.. routes.Where(route => route.Input is null).Select(route => route.Priority).Distinct().Order()];

    /// <summary>The route to the cloud: of several, the one that goes first; edgeHub sends one copy to an endpoint. And the inputs.
    /// Neither: edgeHub acknowledges the message and drops it.</summary>
    public (Route? Upstream, IReadOnlyList<string> Inputs) Find(string moduleId, string? output)
    {
        var taken = Routes.Where(route => route.Takes(moduleId, output)).ToList();
        return (
            taken.Where(route => route.Input is null).MinBy(route => route.Priority),
            [.. taken.Where(route => route.Input is not null).Select(route => route.Input!).Distinct(StringComparer.OrdinalIgnoreCase)]);
    }
}
