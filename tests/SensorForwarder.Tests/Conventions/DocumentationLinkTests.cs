using System.Text.RegularExpressions;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Conventions;

/// <summary>Links between the pages of the documentation, and from them to files of the repository.</summary>
public sealed partial class DocumentationLinkTests
{
    static IEnumerable<string> Pages => SourceFiles.Tracked.Where(path => path.EndsWith(".md", StringComparison.Ordinal));

    [Fact]
    public void Every_link_in_the_documentation_leads_to_an_existing_file_and_heading()
    {
        var links = Pages.SelectMany(page => Links().Matches(WrittenFile.Read(page)).Select(link => (page, Target: link.Groups[1].Value)))
            .Where(link => !link.Target.Contains("://", StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(links);
        Assert.All(links, link =>
        {
            var (path, anchor) = (link.Target.Split('#')[0], link.Target.Split('#').ElementAtOrDefault(1));
            var full = path.Length == 0
                ? Path.Combine(WrittenFile.Root, link.page)
                : Path.GetFullPath(Path.Combine(WrittenFile.Root, Path.GetDirectoryName(link.page)!, path));
            Assert.True(Path.Exists(full), $"{link.page} links to {link.Target}, which does not exist");
            if (anchor is not null)
                Assert.True(
                    Headings().Matches(File.ReadAllText(full)).Any(heading => Anchor(heading.Groups[1].Value) == anchor),
                    $"{link.page} links to {link.Target}, which has no such heading");
        });
    }

    /// <summary>GitHub's anchor of a heading: lower case, without punctuation, with hyphens for spaces.</summary>
    static string Anchor(string heading) => Punctuation().Replace(heading.ToLowerInvariant(), "").Replace(' ', '-');

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Links();

    [GeneratedRegex(@"^#+ (.+)$", RegexOptions.Multiline)]
    private static partial Regex Headings();

    [GeneratedRegex(@"[^\w\- ]")]
    private static partial Regex Punctuation();
}
