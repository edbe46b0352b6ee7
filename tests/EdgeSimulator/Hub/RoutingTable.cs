namespace EdgeSimulator.Hub;

/// <summary>edgeHub's routes and the limit of its store. Immutable.</summary>
/// <param name="routes">The routes of the manifest.</param>
/// <param name="storeMaxBytes">Limit of the messages queued for the cloud. Null: <see cref="StoreBytes"/>, while the
/// real edgeHub has no limit.</param>
internal sealed class RoutingTable(IReadOnlyList<Route> routes, long? storeMaxBytes = null)
{
    const long StoreBytes = 256L << 20;

    /// <summary>Routes all messages to the cloud. Used without a manifest.</summary>
    public static RoutingTable EverythingUpstream { get; } = new([new Route("everything", "/", null, null, Route.LowestPriority, null)]);

    /// <summary>Routes all messages to the cloud, and those of another module also to the input named after it.</summary>
    public static RoutingTable WithInput(string senderId, string moduleId) => new(
    [
        .. EverythingUpstream.Routes,
        new Route("input", $"/messages/modules/{senderId}", null, $"/modules/{moduleId}/inputs/{senderId}", Route.LowestPriority, null),
    ]);

    public IReadOnlyList<Route> Routes { get; } = routes;

    public long StoreMaxBytes { get; } = storeMaxBytes ?? StoreBytes;

    /// <summary>The priorities of the queues to the cloud.</summary>
    public IReadOnlyList<int> UpstreamPriorities { get; } =
        [.. routes.Where(route => route.Input is null).Select(route => route.Priority).Distinct().Order()];

    /// <summary>The message's route to the cloud (the one with the highest priority, since edgeHub sends one copy to
    /// each endpoint) and its inputs. Without either, edgeHub acknowledges the message and drops it.</summary>
    public (Route? Upstream, IReadOnlyList<string> Inputs) Find(RoutedMessage message)
    {
        var taken = Routes.Where(route => route.Takes(message)).ToList();
        return (
            taken.Where(route => route.Input is null).MinBy(route => route.Priority),
            [.. taken.Where(route => route.Input is not null).Select(route => route.Input!).Distinct(StringComparer.OrdinalIgnoreCase)]);
    }
}
