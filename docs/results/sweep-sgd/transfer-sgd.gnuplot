# gnuplot transfer-sgd.gnuplot  writes transfer-sgd.svg and transfer-sgd.png
data = 'transfer-sgd.dat'
do for [format in 'svg png'] {
reset
if (format eq 'svg') { set terminal svg noenhanced size 750,300 font 'sans,10' background 'white' } else { set terminal pngcairo noenhanced size 750,300 font 'sans,8' }
set output 'transfer-sgd'.'.'.format
set multiplot layout 1,3 title 'Learning rate transfer, SGD' margins screen 0.0933, screen 0.9800, screen 0.2833, screen 0.8333 spacing screen 0.0933, screen 0.2333
unset key
set grid lc rgb '#dddddd'
set tics nomirror
set logscale x
set xlabel 'peak learning rate' offset 0,0.5
set ylabel 'loss - best of the width' offset 1,0
set format y '%g'
set title 'SP'
unset object
set object rectangle from 0.1709566037541191,graph 0 to 0.21481530495489137,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.204717589490724,graph 0 to 0.21591828089881765,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.2561195931899556,graph 0 to 0.33084847892471064,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.2762201404720164,graph 0 to 0.2980738461762311,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 0 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 1 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 2 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 3 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.1916353176465487):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#0072b2', \
  '+' every ::::0 using (0.21024335897380203):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#d55e00', \
  '+' every ::::0 using (0.29109582241886):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#009e73', \
  '+' every ::::0 using (0.28693901732220517):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#cc79a7'
set title 'MUP'
unset object
set object rectangle from 0.1709566037541191,graph 0 to 0.21481530495489137,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.15335385151857067,graph 0 to 0.17569361952892568,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.15560198622684668,graph 0 to 0.16136345019623938,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.14318061383842454,graph 0 to 0.15432933162610035,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 4 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 5 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 6 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 7 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.1916353176465487):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#0072b2', \
  '+' every ::::0 using (0.16414412338551485):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#d55e00', \
  '+' every ::::0 using (0.15845653459214518):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#009e73', \
  '+' every ::::0 using (0.1486504908686777):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#cc79a7'
set title 'GDN_MUP'
unset object
set object rectangle from 0.17171200936012224,graph 0 to 0.20264153717233074,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.16228960974767218,graph 0 to 0.1663800129541551,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.17354586789784843,graph 0 to 0.1802661395163102,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.14529358585285965,graph 0 to 0.16168075584000485,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 8 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 9 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 10 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 11 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.18653682083622208):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#0072b2', \
  '+' every ::::0 using (0.1643220842496299):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#d55e00', \
  '+' every ::::0 using (0.17687408977844293):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#009e73', \
  '+' every ::::0 using (0.15326831629333892):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#cc79a7'
unset margins
unset title
unset xlabel
unset ylabel
unset tics
unset border
unset logscale
unset object
set key center center horizontal
set size 1,0.13333333333333333
set origin 0,0
set xrange [0:1]
set yrange [0:1]
plot NaN with lines lw 3 lc rgb '#0072b2' title '64', \
  NaN with lines lw 3 lc rgb '#d55e00' title '128', \
  NaN with lines lw 3 lc rgb '#009e73' title '256', \
  NaN with lines lw 3 lc rgb '#cc79a7' title '512'
unset multiplot
unset output
}
